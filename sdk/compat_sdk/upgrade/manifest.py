"""What an upgrade works on: the frozen source rows, the fixed boundaries of its shards, and what transforms them.

GALLERY/upgrade/manifest.json    everything below, replaced in one step when rows were added to the gallery
GALLERY/upgrade/sources/         the rows to transform: second names of the gallery's own immutable files
GALLERY/upgrade/side/            the side-information, second names as well
GALLERY/upgrade/shards/          one record and one vector file per finished shard
GALLERY/upgrade/backfilled.jsonl ids that were embedded again since the cutover, with a digest of each vector
GALLERY/upgrade/before/, after/  since the cutover: the gallery as it was, and as the cutover made it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from compat_sdk.errors import ConfigError, CorruptFileError, GalleryError, StateError
from compat_sdk.files.atomic import sync_folder, write_atomic
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import parse_sealed, sealed_json
from compat_sdk.gallery.files import Dtype, Segment, StoredFile
from compat_sdk.gallery.store import LAYOUT as GALLERY
from compat_sdk.outputs import Layout
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import TransformSpaces
from compat_sdk.upgrade.sharding import Shards

FOLDER = "upgrade"
SOURCES, SIDE, SHARDS, BEFORE, AFTER = "sources", "side", "shards", "before", "after"
LOCK_FILE = "upgrade.lock"
BACKFILLED = "backfilled.jsonl"
_MANIFEST = "manifest.json"
_FORMAT, _VERSION = "compat-sdk-upgrade", 1
_MOST_SHARDS = 1 << 20  # each is a file, and all of them are listed in memory
_FILE = re.compile(r"(vectors|rows|pairs)-\d+-[0-9a-f]{16}\.(npy|jsonl?)")
LAYOUT: Layout = {
    r"(manifest\.json|backfilled\.jsonl)": None,
    SOURCES: {_FILE.pattern: None},
    SIDE: {_FILE.pattern: None},
    SHARDS: {_FILE.pattern: None, r"shard-\d+\.json": None},
    BEFORE: GALLERY,
    AFTER: GALLERY,
}
"""What an upgrade leaves in its folder."""
WITH_UPGRADE: Layout = {**GALLERY, r"upgrade\.lock": None, FOLDER: LAYOUT}
"""What a gallery and its upgrade leave in the gallery's folder."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Side:
    """Side-information of one source.

    Attributes:
        segments: Vector files in ``side/``, one after the other.
        dtype: Of these files.
        pairs: int64 ``[rows]`` in ``sources/``: for each source row its row of side-information, -1 for none.
        missing: Rows without side-information, which the transform is given zeros for.
    """

    segments: tuple[Segment, ...]
    dtype: Dtype
    pairs: StoredFile
    missing: int = 0


@dataclass(frozen=True)
class Source:
    """Consecutive rows of the old gallery, frozen in ``sources/``."""

    segment: Segment
    side: Side | None


@dataclass(frozen=True)
class Verified:
    """A verification that held.

    Attributes:
        shards: It was of the first so many shards, which were all.
        digest: SHA-256 of what they were made of and of what they hold, see `compat_sdk.upgrade.verified.digest_of`.
        measured: Whether the new model's vectors of some images were at hand, so that it says how much is found.
    """

    shards: int
    digest: str
    measured: bool


@dataclass(frozen=True)
class Manifest:
    """An upgrade, as manifest.json tells it.

    Attributes:
        transform: What identifies the transform and how it is run; a run goes on with the same alone.
        spaces: From where to where it leads.
        shard_rows: Rows of a shard; the last of a source may have fewer.
        block_rows: Rows that the transform sees at once.
        model: What the gallery will remember of its model after the cutover.
        dtype: Of the gallery's files, old and new.
        verified: The last verification that held, if there was any.

    Raises:
        ConfigError: There are more than 1,048,576 shards.
    """

    transform: Mapping[str, str]
    spaces: TransformSpaces
    model: Mapping[str, object]
    dtype: Dtype
    shard_rows: int
    block_rows: int
    sources: tuple[Source, ...] = ()
    verified: Verified | None = None

    def __post_init__(self) -> None:
        count = sum(-(-source.segment.rows // self.shard_rows) for source in self.sources)
        if count > _MOST_SHARDS:
            raise ConfigError(
                f"shard_rows is {self.shard_rows}, which makes {count} shards of {self.rows} rows; expected at most "
                f"{_MOST_SHARDS} shards: take more rows for each"
            )

    @property
    def rows(self) -> int:
        """Rows of all sources."""
        return sum(source.segment.rows for source in self.sources)

    @property
    def without_side(self) -> int:
        """Rows of all sources that have no side-information, though the transform takes some."""
        return sum(source.side.missing for source in self.sources if source.side is not None)

    @property
    def segments(self) -> list[Segment]:
        """The frozen rows, one segment per source."""
        return [source.segment for source in self.sources]

    @property
    def shards(self) -> Shards:
        """Every shard; numbers and boundaries stay the same when sources are added."""
        return Shards([source.segment.rows for source in self.sources], self.shard_rows)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make ``manifest`` the upgrade's, durably and in one step; ``folder`` is the upgrade's."""
    for name in (SOURCES, SIDE):
        if (folder / name).exists():
            sync_folder(folder / name)
    rest = asdict(manifest)
    if manifest.verified is None:
        del rest["verified"]
    head = {"format": _FORMAT, "version": _VERSION, "transform": rest.pop("transform"), **rest.pop("spaces")}
    write_atomic(folder / _MANIFEST, sealed_json(head | rest))


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of the upgrade in ``folder``, or return None where no upgrade was begun.

    Raises:
        GalleryError: It is damaged, or of a version that this release cannot read.
    """
    path = folder / _MANIFEST
    try:
        value = parse_sealed(read_plain(path), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}") from error
    except CorruptFileError as error:
        raise GalleryError(f"{error}; or discard the upgrade and run it again") from error
    if value.get("format") != _FORMAT or value.get("version") != _VERSION:
        raise GalleryError(
            f"{path} has format {shown_value(value.get('format'))} version {shown_value(value.get('version'))}, this "
            f"release reads {_FORMAT!r} version {_VERSION}; upgrade compat-sdk"
        )
    try:
        return _parse(value)
    except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise GalleryError(
            f"{path} is malformed ({shortened(repr(error), 160)}); discard the upgrade and run it again"
        ) from error


def forget_manifest(folder: Path) -> None:
    """Delete the manifest: from then on there is no upgrade, whatever else is still in ``folder``."""
    (folder / _MANIFEST).unlink(missing_ok=True)
    sync_folder(folder)


def require_manifest(gallery: Path) -> Manifest:
    """Return the manifest of a gallery's upgrade.

    Raises:
        StateError: No upgrade was begun.
        GalleryError: The manifest is damaged, or of a version that this release cannot read.
    """
    manifest = read_manifest(gallery / FOLDER)
    if manifest is None:
        raise StateError(f"{gallery} holds no upgrade; begin one with `compat-sdk upgrade run {gallery}`")
    return manifest


def stored_file(value: Mapping[str, Any]) -> StoredFile:
    """Return the record of a file of an upgrade.

    Raises:
        ValueError: The name is none that an upgrade gives, or a figure is malformed.
    """
    file = StoredFile(str(value["name"]), str(value["sha256"]), _count(value["bytes"]))
    if _FILE.fullmatch(file.name) is None or _SHA256.fullmatch(file.sha256) is None:
        raise ValueError(f"file {shown_value(file.name)} with SHA-256 {shown_value(file.sha256)}")
    return file


def _parse(value: Mapping[str, Any]) -> Manifest:
    return Manifest(
        transform={str(key): str(item) for key, item in value["transform"].items()},
        spaces=TransformSpaces(**{field.name: value[field.name] for field in fields(TransformSpaces)}),
        model=dict(value["model"]),
        dtype=_dtype(value["dtype"]),
        shard_rows=_count(value["shard_rows"], 1),
        block_rows=_count(value["block_rows"], 1),
        sources=tuple(_source(item) for item in value["sources"]),
        verified=_verified(value["verified"]) if "verified" in value else None,
    )


def _verified(value: Mapping[str, Any]) -> Verified:
    found = Verified(_count(value["shards"]), str(value["digest"]), bool(value["measured"]))
    if _SHA256.fullmatch(found.digest) is None or type(value["measured"]) is not bool:
        raise ValueError(f"verified by {shown_value(value)}")
    return found


def _source(value: Mapping[str, Any]) -> Source:
    side = value["side"]
    return Source(
        _segment(value["segment"]),
        None
        if side is None
        else Side(
            tuple(_segment(item) for item in side["segments"]),
            _dtype(side["dtype"]),
            stored_file(side["pairs"]),
            _count(side.get("missing", 0)),  # release 0.7 knew of none
        ),
    )


def _segment(value: Mapping[str, Any]) -> Segment:
    return Segment(_count(value["rows"]), stored_file(value["vectors"]), stored_file(value["table"]))


def _dtype(value: object) -> Dtype:
    for dtype in get_args(Dtype):
        if value == dtype:
            found: Dtype = dtype
            return found
    raise ValueError(f"dtype {shown_value(value)}")


def _count(value: object, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{shown_value(value)} where a count of at least {least} was expected")
    return value
