"""The files of the two states between which an upgrade switches: the new one from its shards, and the one to keep."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import GalleryError, StateError
from compat_sdk.files.atomic import link_or_copy, sync_folder
from compat_sdk.gallery.files import Segment, problem_with, require_intact
from compat_sdk.gallery.segments import write_segment
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.state import State
from compat_sdk.gallery.store import write_state
from compat_sdk.gallery.tables import NameCursor, Names, StoredTable, write_table
from compat_sdk.gallery.vectors import blocks, open_vectors
from compat_sdk.upgrade.manifest import SHARDS, SOURCES, Manifest
from compat_sdk.upgrade.rows import Rows, selected
from compat_sdk.upgrade.shard import Record, read_record
from compat_sdk.upgrade.sharding import Shard

MOST_SEGMENTS = 128
"""Segments of a gallery that was cut over: each is a file that its readers hold open, and shards may be thousands."""


def finished(folder: Path, manifest: Manifest, first: int = 0) -> list[tuple[Shard, Record]]:
    """Return the shards from number ``first`` on with their records, after comparing every digest.

    Raises:
        StateError: Some are not done.
        GalleryError: One is damaged.
    """
    found = []
    missing = 0
    for shard in manifest.shards[first:]:
        record = read_record(folder, shard, manifest.transform)
        if record is None:
            missing += 1
            continue
        problem = problem_with(folder / SHARDS, record.output)
        if problem:
            raise GalleryError(f"{problem}; run `compat-sdk upgrade run` again, it makes this shard anew")
        found.append((shard, record))
    if missing:
        raise StateError(
            f"{missing} of {len(manifest.shards)} shards are not done; run `compat-sdk upgrade run` again, it does "
            f"what is missing"
        )
    return found


def assemble(
    current: Snapshot,
    folder: Path,
    manifest: Manifest,
    records: Sequence[tuple[Shard, Record]],
    keep: NDArray[np.bool_],
) -> Iterator[Segment]:
    """Put the files of the new state into the gallery's folder, one segment per shard; nothing names them yet."""
    generation = current.state.generation + 1
    together = max(1, -(-len(records) // MOST_SEGMENTS))
    cursor = _Tables(folder / SOURCES, manifest)
    for number in range(0, len(records), together):
        group = [
            (shard, record, mask)
            for shard, record in records[number : number + together]
            if (mask := keep[shard.first : shard.first + shard.rows]).any()
        ]
        if len(group) == 1:
            yield _segment_of(current.folder, folder, manifest, cursor, generation, *group[0])
        elif group:
            shape = (sum(int(np.count_nonzero(mask)) for _, _, mask in group), manifest.spaces.dim)
            rows = chain.from_iterable(_stored(folder, manifest, *one) for one in group)
            names = chain.from_iterable(cursor.names(shard, mask) for shard, _, mask in group)
            yield write_segment(current.folder, generation, rows, shape, names, manifest.dtype)


def _segment_of(
    gallery: Path,
    folder: Path,
    manifest: Manifest,
    cursor: _Tables,
    generation: int,
    shard: Shard,
    record: Record,
    mask: NDArray[np.bool_],
) -> Segment:
    """One shard as a segment: second names of its files where all of its rows stay, else new files."""
    frozen = manifest.sources[shard.source].segment
    wanted, rows = cursor.names(shard, mask), int(np.count_nonzero(mask))
    if not mask.all():
        shape = (rows, manifest.spaces.dim)
        return write_segment(
            gallery, generation, _stored(folder, manifest, shard, record, mask), shape, wanted, manifest.dtype
        )
    link_or_copy(folder / SHARDS / record.output.name, gallery / record.output.name)
    if shard.rows < frozen.rows:
        return Segment(shard.rows, record.output, write_table(gallery, generation, wanted, rows))
    require_intact(folder / SOURCES, [frozen.table])
    link_or_copy(folder / SOURCES / frozen.table.name, gallery / frozen.table.name)
    return Segment(shard.rows, record.output, frozen.table)


def _stored(
    folder: Path, manifest: Manifest, shard: Shard, record: Record, mask: NDArray[np.bool_]
) -> Iterator[NDArray[Any]]:
    """The transformed rows of a shard that ``mask`` is True for; its file is open while they are read."""
    whole = Segment(shard.rows, record.output, manifest.sources[shard.source].segment.table)
    yield from blocks([open_vectors(folder / SHARDS, whole, manifest.spaces.dim, manifest.dtype)], mask)


class _Tables:
    """The ids and labels of shards that are asked for in order, each table read once."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._source = -1
        self._names: NameCursor | None = None

    def names(self, shard: Shard, mask: NDArray[np.bool_]) -> Iterator[Names]:
        """Those of the rows that ``mask`` is True for."""
        if self._names is None or self._source != shard.source:
            self._source = shard.source
            self._names = NameCursor(StoredTable(self._folder, self._manifest.sources[shard.source].segment))
        yield from selected(self._names.between(shard.start, shard.stop), mask)


def kept(found: Sequence[Rows], rows: int) -> NDArray[np.bool_]:
    """Which of this many frozen rows were found."""
    keep = np.zeros(rows, bool)
    for numbers in found:
        if isinstance(numbers, range):
            keep[numbers.start : numbers.stop] = True
        else:
            keep[numbers[numbers >= 0]] = True
    return keep


def keep_state(folder: Path, gallery: Path, state: State) -> None:
    """Make ``folder`` a gallery in this state, of second names of the gallery's files."""
    if folder.exists():
        shutil.rmtree(folder)  # of an earlier cutover, which was killed or rolled back
    folder.mkdir()
    for file in state.files:
        link_or_copy(gallery / file.name, folder / file.name)
    write_state(folder, state, None)
    sync_folder(folder.parent)
