"""What gallery.json says, checked to the byte."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from compat_sdk.errors import ConfigError, CorruptFileError, GalleryError
from compat_sdk.files.documents import parse_json
from compat_sdk.files.seal import sealed_json
from compat_sdk.gallery.files import RESTORE, Dtype, Segment, StoredFile
from compat_sdk.index.options import readable_options
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import check_space

STATE_FILE = "gallery.json"
_FORMAT = "compat-sdk-gallery"
_VERSION = 1
_COMPACT_VERSION = 2  # as 1, with a dtype; float32 is written as version 1, which earlier releases read
_LINES_VERSION = 3  # as 1 or 2, with a table of several lines; without one, as 1 or 2
_KINDS_VERSION = 4  # as 1 to 3, with an index that is not of usearch; without one, as 1 to 3
_FIRST_KIND = "usearch"
_SHA256 = re.compile(r"[0-9a-f]{64}")
FILE_NAME = re.compile(r"(vectors|rows|index)-(?P<generation>\d+)-[0-9a-f]{16}\.(npy|jsonl?|usearch|hnswlib|faiss)")


@dataclass(frozen=True)
class StoredIndex:
    """An index file, how it was built, and the ``content`` number of the rows that it covers."""

    kind: str
    content: int
    options: Mapping[str, int]
    file: StoredFile

    @property
    def build_options(self) -> dict[str, int]:
        """How to build it again: options that its kind knows, in their range; none of a kind that is not known here."""
        return readable_options(self.kind, self.options)

    @property
    def wanted_recall(self) -> float | None:
        """The recall that it was built for, above 0 and at most 1; None where none was asked for."""
        millionths = self.options.get("wanted_recall_millionths")
        return millionths / 1_000_000 if type(millionths) is int and 0 < millionths <= 1_000_000 else None


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
    def identity(self) -> str:
        """SHA-256 of all that the state says: two states with equal numbers may be those of two galleries."""
        return hashlib.sha256(rendered(self)).hexdigest()

    @property
    def index_is_fresh(self) -> bool:
        """Whether there is an index and it covers exactly the present rows."""
        return self.index is not None and self.index.content == self.content


def parse_state(folder: Path, data: bytes) -> State:
    """Check the content of gallery.json to the byte.

    Raises:
        GalleryError: It is damaged, or of a version that this release cannot read.
    """
    path = folder / STATE_FILE
    try:
        value = parse_json(data, str(path))
    except CorruptFileError as error:
        raise GalleryError(f"{error}; {RESTORE}") from error
    if value.get("format") != _FORMAT or type(value.get("version")) is not int:
        raise GalleryError(f"{path} does not describe a gallery; check the path, or {RESTORE}")
    if value["version"] not in range(_VERSION, _KINDS_VERSION + 1):
        raise GalleryError(
            f"{path} has version {value['version']}, this release reads versions {_VERSION} to {_KINDS_VERSION}; "
            f"upgrade compat-sdk"
        )
    body = {key: item for key, item in value.items() if key not in ("format", "version", "digest")}
    try:
        if _render(body) != data:
            raise GalleryError(f"{path} differs from its own digest; {RESTORE}")
        state = _parse(body)
        if rendered(state) != data:  # a field or a type, however deep, that no state has
            raise ValueError("it holds what no gallery says")
        return state
    except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise GalleryError(f"{path} is malformed ({shortened(repr(error), 160)}); {RESTORE}") from error


def rendered(state: State) -> bytes:
    """The content of gallery.json that says this state."""
    body = asdict(state)
    if state.dtype == "float32":
        del body["dtype"]
    return _render(body)


def _render(body: Mapping[str, Any]) -> bytes:
    version = _COMPACT_VERSION if "dtype" in body else _VERSION
    if any(str(segment["table"]["name"]).endswith(".jsonl") for segment in body["segments"]):
        version = _LINES_VERSION
    if body["index"] is not None and body["index"]["kind"] != _FIRST_KIND:
        version = _KINDS_VERSION
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
        raise ValueError(f"dtype {shown_value(state.dtype)}")
    if set(value) | {"dtype"} != set(asdict(state)):
        raise ValueError(f"unknown fields {sorted(set(value) - set(asdict(state)))}")
    return state


def _file(value: Mapping[str, Any]) -> StoredFile:
    file = StoredFile(str(value["name"]), str(value["sha256"]), _count(value["bytes"]))
    if FILE_NAME.fullmatch(file.name) is None or _SHA256.fullmatch(file.sha256) is None:
        raise ValueError(f"file {shown_value(file.name)} with SHA-256 {shown_value(file.sha256)}")
    return file


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{shown_value(value)} where a count was expected")
    return value
