"""A gallery on disk: immutable segment files, and one small file that says which of them count.

    gallery.json                     format, space, dimension, generation, and a record of every file below
    vectors-GENERATION-RANDOM.npy    rows of one segment, float32 or the gallery's dtype
    rows-GENERATION-RANDOM.json      their ids and labels; .jsonl where they are more than 65,536
    index-GENERATION-RANDOM.usearch  optional graph over all rows: a cache
    gallery.lock                     held by the one process that writes
    upgrade/                         an upgrade to another space, see `compat_sdk.upgrade`; no file of it counts

A writer adds files under new names, makes them durable, and then replaces gallery.json in one step. Whoever
dies in between leaves files that nothing names; the next writer sweeps them up. A reader holds the files
that it opened, so a writer never disturbs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, GalleryError, GalleryLockedError
from compat_sdk.files import open_locked, parse_json, sealed_json, sync_folder, write_atomic
from compat_sdk.gallery.files import RESTORE as _RESTORE
from compat_sdk.gallery.files import Dtype, Segment, StoredFile
from compat_sdk.space import check_space

_STATE_FILE = "gallery.json"
_LOCK_FILE = "gallery.lock"
_FORMAT = "compat-sdk-gallery"
_VERSION = 1
_COMPACT_VERSION = 2  # as 1, with a dtype; float32 is written as version 1, which earlier releases read
_LINES_VERSION = 3  # as 1 or 2, with a table of several lines; without one, as 1 or 2
_OURS = re.compile(r"(vectors-\d+-[0-9a-f]{16}\.npy|rows-\d+-[0-9a-f]{16}\.jsonl?|index-\d+-[0-9a-f]{16}\.usearch)")
_STRAY = re.compile(r"\.gallery\.json\..*\.tmp")


@dataclass(frozen=True)
class StoredIndex:
    """An index file, how it was built, and the ``content`` number of the rows that it covers."""

    kind: str
    content: int
    options: Mapping[str, int]
    file: StoredFile


@dataclass(frozen=True)
class State:
    """What gallery.json says.

    Attributes:
        generation: Grows by one with every change of any kind.
        content: Grows by one when rows change; an index is fresh while it carries the same number.
        dtype: Of the vector files.
    """

    space: str
    dim: int
    model: Mapping[str, object]
    generation: int = 0
    content: int = 0
    segments: tuple[Segment, ...] = ()
    index: StoredIndex | None = None
    dtype: Dtype = "float32"

    @property
    def files(self) -> list[StoredFile]:
        """Every file that the state names."""
        found = [file for segment in self.segments for file in (segment.vectors, segment.table)]
        return found + ([self.index.file] if self.index else [])

    @property
    def index_is_fresh(self) -> bool:
        """Whether there is an index and it covers exactly the present rows."""
        return self.index is not None and self.index.content == self.content


def write_state(folder: Path, state: State) -> None:
    """Make ``state`` the gallery's state, durably and in one step."""
    sync_folder(folder)
    body = asdict(state)
    if state.dtype == "float32":
        del body["dtype"]
    write_atomic(folder / _STATE_FILE, _render(body))


def read_state(folder: Path) -> State:
    """Read gallery.json and check it to the byte.

    Raises:
        GalleryError: It is missing, damaged, or of a version that this release cannot read.
    """
    path = folder / _STATE_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise GalleryError(f"{folder} is not a gallery: found no {_STATE_FILE}; check the path") from error
    except OSError as error:
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {_RESTORE}") from error
    try:
        value = parse_json(data, str(path))
    except CorruptFileError as error:
        raise GalleryError(f"{error}; {_RESTORE}") from error
    if value.get("format") != _FORMAT or type(value.get("version")) is not int:
        raise GalleryError(f"{path} does not describe a gallery; check the path, or {_RESTORE}")
    if value["version"] not in (_VERSION, _COMPACT_VERSION, _LINES_VERSION):
        raise GalleryError(
            f"{path} has version {value['version']}, this release reads versions {_VERSION} to {_LINES_VERSION}; "
            f"upgrade compat-sdk"
        )
    body = {key: item for key, item in value.items() if key not in ("format", "version", "digest")}
    try:
        if _render(body) != data:
            raise GalleryError(f"{path} differs from its own digest; {_RESTORE}")
        return _parse(body)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise GalleryError(f"{path} is malformed ({error!r}); {_RESTORE}") from error


def sweep(folder: Path, state: State) -> None:
    """Delete what crashed or superseded writes left behind; call it with the lock held."""
    named = {file.name for file in state.files}
    for path in folder.iterdir():
        if (_OURS.fullmatch(path.name) and path.name not in named) or _STRAY.fullmatch(path.name):
            with suppress(OSError):  # still open elsewhere (Windows): the next writer tries again
                path.unlink()


def is_new_folder(folder: Path) -> bool:
    """Whether a gallery may be created here: nothing there, or only what a killed `create` left."""
    return not folder.exists() or (
        folder.is_dir() and all(path.name == _LOCK_FILE or _STRAY.fullmatch(path.name) for path in folder.iterdir())
    )


@contextmanager
def write_lock(folder: Path, lock_file: str = _LOCK_FILE, busy: str = "writing") -> Iterator[None]:
    """Hold the gallery's write lock; the system frees it if this process dies.

    Args:
        folder: The gallery's folder.
        lock_file: Another file in the folder to lock, for work that lets additions go on.
        busy: What the other process is doing to the gallery, for the error.

    Raises:
        GalleryLockedError: Another process holds it.
        CompatError: The folder cannot be written.
    """
    try:
        file = open_locked(folder / lock_file)
    except BlockingIOError as error:
        raise GalleryLockedError(
            f"another process is {busy} gallery {folder}; wait until it is done and try again"
        ) from error
    except OSError as error:
        raise CompatError(
            f"cannot write to gallery {folder}: {error.strerror or error}; nothing was changed"
        ) from error
    with file:
        yield


def _render(body: Mapping[str, Any]) -> bytes:
    version = _COMPACT_VERSION if "dtype" in body else _VERSION
    if any(str(segment["table"]["name"]).endswith(".jsonl") for segment in body["segments"]):
        version = _LINES_VERSION
    return sealed_json({"format": _FORMAT, "version": version, **body})


def _parse(value: Mapping[str, Any]) -> State:
    index = value["index"]
    state = State(
        space=check_space(value["space"]),
        dim=_count(value["dim"]),
        model=dict(value["model"]),
        generation=_count(value["generation"]),
        content=_count(value["content"]),
        segments=tuple(
            Segment(_count(item["rows"]), _file(item["vectors"]), _file(item["table"])) for item in value["segments"]
        ),
        index=None
        if index is None
        else StoredIndex(str(index["kind"]), _count(index["content"]), dict(index["options"]), _file(index["file"])),
        dtype=value.get("dtype", "float32"),
    )
    if state.dtype not in get_args(Dtype):
        raise ValueError(f"dtype {state.dtype!r}")
    if set(value) | {"dtype"} != set(asdict(state)):
        raise ValueError(f"unknown fields {sorted(set(value) - set(asdict(state)))}")
    return state


def _file(value: Mapping[str, Any]) -> StoredFile:
    file = StoredFile(str(value["name"]), str(value["sha256"]), _count(value["bytes"]))
    if _OURS.fullmatch(file.name) is None:
        raise ValueError(f"file name {file.name!r}")
    return file


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} where a count was expected")
    return value
