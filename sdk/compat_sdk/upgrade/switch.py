"""The two atomic steps: into the new space, and back; and giving up what they need.

Each is one replacement of gallery.json under the gallery's write lock. Whatever is deleted afterwards has a second
name in the upgrade's folder, so that the other step finds its files again.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import ne
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, GalleryError, StateError
from compat_sdk.files.atomic import link_or_copy, sync_folder
from compat_sdk.gallery.files import Segment, problem_with, require_intact
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.segments import write_segment
from compat_sdk.gallery.snapshot import Snapshot, blocks
from compat_sdk.gallery.state import State
from compat_sdk.gallery.store import read_state, write_state
from compat_sdk.gallery.tables import NameCursor, Names, StoredTable, write_table
from compat_sdk.gallery.vectors import open_vectors
from compat_sdk.gallery.writer import select, writing
from compat_sdk.upgrade.manifest import (
    AFTER,
    BEFORE,
    FOLDER,
    SHARDS,
    SOURCES,
    Manifest,
    Shard,
    forget_manifest,
    read_manifest,
    require_manifest,
)
from compat_sdk.upgrade.prepare import upgrading
from compat_sdk.upgrade.rows import Rows, all_rows, find_rows, selected, selected_ids, unknown
from compat_sdk.upgrade.shard import Record, read_record

MOST_SEGMENTS = 128
"""Segments of a gallery that was cut over: each is a file that its readers hold open, and shards may be thousands."""


@dataclass(frozen=True)
class Cutover:
    """A gallery that was cut over: its new space, its rows, and rows that were removed since their shard was made."""

    space: str
    rows: int
    left_out: int


@dataclass(frozen=True)
class Rollback:
    """A gallery that was rolled back: its old space, its rows, and the ids of added rows that were dropped."""

    space: str
    rows: int
    dropped: tuple[str, ...]


def cutover(path: str | Path) -> Cutover:
    """Put the transformed rows in the place of the old ones, in one step.

    Ids, labels and their order stay; an index does not, build it again. Rows removed since the run are left out.
    Readers that opened the gallery before go on in the old space. The old gallery is kept for `rollback`, as a
    gallery of its own in ``upgrade/before``.

    Raises:
        StateError: No upgrade, shards or rows that are still to be transformed, or a gallery cut over already.
        GalleryError: A shard or the gallery is damaged.
        GalleryLockedError: Another process is writing or upgrading this gallery.
        CompatError: The disk is full or the folder cannot be written; the gallery is as it was.
    """
    gallery = Path(path)
    read_state(gallery)
    with upgrading(gallery):
        folder = gallery / FOLDER
        manifest = require_manifest(gallery)
        if read_state(gallery).space == manifest.spaces.space:
            raise StateError(f"{gallery} has been cut over to space {manifest.spaces.space} already")
        records = _finished(folder, manifest)
        with writing(gallery, load_snapshot(gallery, False, names=False, held=False), False) as current:
            found = find_rows(current, folder / SOURCES, manifest.segments, manifest.spaces.old_dim)
            keep, missing = _kept(found, manifest.rows), tuple(selected_ids(current, unknown(found)))
            if missing:
                raise StateError(
                    f"{len(missing)} of {len(current)} rows were added since the last run, such as {missing[0]}; run "
                    f"`compat-sdk upgrade run` again, it transforms these alone"
                )
            state = replace(
                current.state,
                space=manifest.spaces.space,
                dim=manifest.spaces.dim,
                model=manifest.model,
                generation=current.state.generation + 1,
                content=current.state.content + 1,
                segments=tuple(_assemble(current, folder, manifest, records, keep)),
                index=None,
            )
            _keep(folder / BEFORE, gallery, current.state)
            _keep(folder / AFTER, gallery, state)
            write_state(gallery, state, current.state)
        return Cutover(state.space, len(current), manifest.rows - len(current))


def rollback(path: str | Path, *, drop_added: bool = False) -> Rollback:
    """Put the old rows back in their place, in one step.

    Rows removed since the cutover stay removed; without such rows the old gallery is back to the byte, index
    included. The finished shards stay, so that a later `cutover` needs a run for newer rows only.

    Args:
        path: The gallery.
        drop_added: Give up rows that were added since the cutover: they have no old vectors.

    Raises:
        StateError: The gallery has not been cut over, or rows were added since and ``drop_added`` is not set.
        GalleryError: What was kept is damaged.
        GalleryLockedError: Another process is writing or upgrading this gallery.
        CompatError: The disk is full or the folder cannot be written; the gallery is as it was.
    """
    gallery = Path(path)
    read_state(gallery)
    with upgrading(gallery):
        folder = gallery / FOLDER
        manifest = require_manifest(gallery)
        if read_state(gallery).space != manifest.spaces.space:
            raise StateError(f"{gallery} has not been cut over; there is nothing to roll back")
        before = load_snapshot(folder / BEFORE, True, names=False, held=False)
        after = load_snapshot(folder / AFTER, False, names=False, held=False)
        if any(map(ne, *(selected_ids(one, all_rows(one)) for one in (before, after)))) or len(before) != len(after):
            raise GalleryError(f"{before.folder} and {after.folder} hold other ids; restore them from a copy")
        with writing(gallery, load_snapshot(gallery, False, names=False, held=False), False) as current:
            found = find_rows(current, folder / AFTER, after.state.segments, manifest.spaces.dim)
            added = tuple(selected_ids(current, unknown(found)))
            if added and not drop_added:
                shown = ", ".join(added[:10]) + (", ..." if len(added) > 10 else "")
                raise StateError(
                    f"{len(added)} rows were added since the cutover and have no old vectors: {shown}; remove them, "
                    f"or give them up with drop_added (--drop-added)"
                )
            keep = _kept(found, len(before))
            for file in before.state.files:
                link_or_copy(folder / BEFORE / file.name, gallery / file.name)
            generation = current.state.generation
            if keep.all():
                write_state(gallery, replace(before.state, generation=generation + 1), current.state)
            else:
                old = replace(before.state, generation=generation)
                select(Snapshot(gallery, old, before.parts, (before.ids, before.labels)), keep, current.state)
        for name in (BEFORE, AFTER):
            shutil.rmtree(folder / name, ignore_errors=True)
        return Rollback(before.state.space, int(keep.sum()), added)


def discard(path: str | Path, *, old: bool = False) -> int:
    """Delete an upgrade: an unfinished or rolled back run, or, after the cutover, the old vectors for good.

    Call it again if it was interrupted.

    Args:
        path: The gallery.
        old: Confirms that the gallery has been cut over and that its old vectors may go.

    Returns:
        Bytes of files that only the upgrade still named; what is linked to the side-information is not among them.

    Raises:
        StateError: No upgrade.
        ConfigError: ``old`` does not say what the gallery is.
        GalleryError: There is no gallery.
        GalleryLockedError: Another process is upgrading this gallery.
        CompatError: The folder cannot be written.
    """
    gallery = Path(path)
    read_state(gallery)
    with upgrading(gallery):
        folder = gallery / FOLDER
        is_over = _is_over(gallery, folder)
        if is_over and not old:
            raise ConfigError(
                f"{gallery} has been cut over: this would delete its old vectors, and with them the way back; "
                f"confirm with --old"
            )
        if old and is_over is False:
            raise ConfigError(f"{gallery} has not been cut over, its vectors are the old ones; leave out --old")
        freed = _bytes_named_only_in(folder)
        forget_manifest(folder)
        shutil.rmtree(folder)
        return freed


def _is_over(gallery: Path, folder: Path) -> bool | None:
    """Whether deleting the upgrade would delete old vectors; with a damaged manifest, if there are any.

    None where a killed `discard` left too little to tell, and nothing that needs to be confirmed.
    """
    try:
        manifest = read_manifest(folder) if folder.exists() else require_manifest(gallery)
    except GalleryError:
        return (folder / BEFORE).exists()
    if manifest is None:
        return (folder / BEFORE).exists() or None
    return read_state(gallery).space == manifest.spaces.space


def _bytes_named_only_in(folder: Path) -> int:
    """Bytes of the files in ``folder`` that have no name outside of it, neither in the gallery nor in another one."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    names = Counter(file.st_ino for file in found)
    return sum({file.st_ino: file.st_size for file in found if file.st_nlink == names[file.st_ino]}.values())


def _finished(folder: Path, manifest: Manifest) -> list[tuple[Shard, Record]]:
    """Return every shard with its record, after comparing every digest."""
    found = []
    missing = 0
    for shard in manifest.shards:
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


def _assemble(
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


def _kept(found: Sequence[Rows], rows: int) -> NDArray[np.bool_]:
    """Which of this many frozen rows were found."""
    keep = np.zeros(rows, bool)
    for numbers in found:
        if isinstance(numbers, range):
            keep[numbers.start : numbers.stop] = True
        else:
            keep[numbers[numbers >= 0]] = True
    return keep


def _keep(folder: Path, gallery: Path, state: State) -> None:
    """Make ``folder`` a gallery in this state, of second names of the gallery's files."""
    if folder.exists():
        shutil.rmtree(folder)  # of an earlier cutover, which was killed or rolled back
    folder.mkdir()
    for file in state.files:
        link_or_copy(gallery / file.name, folder / file.name)
    write_state(folder, state, None)
    sync_folder(folder.parent)
