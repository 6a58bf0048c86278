"""What an upgrade will cost and bring, before a byte is written."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import IncompatibleSpaceError
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.missing_side import MissingSide, require_missing_side
from compat_sdk.progress import Progress
from compat_sdk.spread import spread
from compat_sdk.upgrade.accuracy import MOST_ROWS, Accuracy, compare
from compat_sdk.upgrade.freeze import new_rows
from compat_sdk.upgrade.manifest import FOLDER
from compat_sdk.upgrade.opener import Transformer, TransformOpener, facing
from compat_sdk.upgrade.pairing import Pairing
from compat_sdk.upgrade.prepare import begun, new_manifest, open_side, require_old, require_same
from compat_sdk.upgrade.room import room_for
from compat_sdk.upgrade.rows import StackedRows, all_rows, selected_names
from compat_sdk.upgrade.shard import opened, read_record, transformed_rows
from compat_sdk.workers import usable_cores

_ROUNDS = 5


@dataclass(frozen=True)
class Plan:
    """What `plan` found.

    Attributes:
        rows: Rows of the gallery.
        remaining: Rows still to be transformed.
        shards: Shards that `run` will end with.
        bytes_needed: What `run` will still write: vectors, and 8 bytes per row that pair it with its side-information.
        bytes_to_copy: What it copies besides, because no second names can be made: side-information on another file
            system, and new rows that share a file with others.
        bytes_free: Free space on the gallery's disk.
        rows_per_second: Of one worker, the median of a few blocks of real rows; 0 for an empty gallery.
        workers: Worker processes that `run` will have work for.
        seconds: Projected time, if the workers do not slow each other down.
        accuracy: Expected accuracy on the held-out vectors, if any were given.
        bytes_for_cutover: What the cutover writes anew: tables, and all rows of more than 128 shards.
        without_side: Rows to transform that have no side-information, and take zeros.
    """

    rows: int
    remaining: int
    shards: int
    bytes_needed: int
    bytes_to_copy: int
    bytes_free: int
    rows_per_second: float
    workers: int
    seconds: float
    accuracy: Accuracy | None
    bytes_for_cutover: int = 0
    without_side: int = 0


def plan(
    path: str | Path,
    opener: TransformOpener,
    *,
    side: str | Path | None = None,
    held_out: str | Path | None = None,
    shard_rows: int | None = None,
    block_rows: int | None = None,
    workers: int | None = None,
    missing_side: MissingSide = "refuse",
    progress: Progress | None = None,
) -> Plan:
    """Say what `run` with the same arguments will do; nothing is written.

    Args:
        path: The gallery.
        opener: The transform.
        side: Gallery with the side-information, if the transform takes any.
        held_out: Gallery in the new space with some of the same ids, embedded by the new model.
        shard_rows: As for `run`.
        block_rows: As for `run`.
        workers: As for `run`.
        missing_side: As for `run`.
        progress: Called with the stage, rows done and rows in all.

    Raises:
        ConfigError: The arguments do not fit each other or an upgrade that was begun; or fewer than two
            ids of ``held_out`` are in the gallery.
        IncompatibleSpaceError: The transform is for another gallery; or ``held_out`` is not in the new space.
        DataError: Rows have no side-information.
        VectorError: The transform gave vectors that no index may see.
        GalleryError: A gallery or the upgrade is damaged.
    """
    gallery = load_snapshot(Path(path), False, names=False)
    folder = gallery.folder / FOLDER
    opener = facing(opener, opened(opener).spaces, gallery.state.space)
    transform = opened(opener)
    require_missing_side(transform.spaces.side_space, missing_side)
    side_rows = open_side(transform, side)
    manifest = begun(gallery.folder)
    if manifest is None:
        manifest = new_manifest(opener, transform, gallery, shard_rows, block_rows)
        wanted = all_rows(gallery)
    else:
        require_same(gallery.folder, manifest, opener, gallery, shard_rows, block_rows)
        require_old(transform, gallery)
        wanted = new_rows(folder, manifest, gallery)
    without_side = 0
    if side_rows is not None:
        pairing, done, count = Pairing(side_rows), 0, sum(int(np.count_nonzero(mask)) for mask in wanted)
        for names in selected_names(gallery, wanted):
            pairing.rows(*names)
            done += len(names[0])
            if progress is not None:
                progress("pair with side-information", done, count, {})
        pairing.require_all(missing_side)
        without_side = pairing.missing
    unfinished = [shard.rows for shard in manifest.shards if read_record(folder, shard, manifest.transform) is None]
    missing, added = sum(unfinished), sum(int(np.count_nonzero(mask)) for mask in wanted)
    new_shards = sum(-(-int(np.count_nonzero(mask)) // manifest.shard_rows) for mask in wanted)
    busy = max(1, min(workers or usable_cores(), len(unfinished) + new_shards))
    room = room_for(manifest, gallery, wanted, side_rows)
    if progress is not None:
        progress("time a few blocks", 0, added, {})
    rate = _rows_per_second(transform, gallery, side_rows, manifest.block_rows)
    return Plan(
        rows=len(gallery),
        remaining=missing + added,
        shards=len(manifest.shards) + new_shards,
        bytes_needed=room.run,
        bytes_to_copy=room.copies,
        bytes_free=shutil.disk_usage(gallery.folder).free,
        rows_per_second=rate,
        workers=busy,
        seconds=(missing + added) / rate / busy if rate else 0.0,
        accuracy=None if held_out is None else _accuracy(transform, gallery, side_rows, Path(held_out)),
        bytes_for_cutover=room.cutover,
        without_side=without_side,
    )


def transformed(
    transform: Transformer, gallery: Snapshot, side: Snapshot | None, ids: Sequence[str], block_rows: int
) -> NDArray[np.float32]:
    """Transform the rows of these ids.

    Raises:
        VectorError: The transform gave vectors that no index may see.
    """
    found = np.empty((len(ids), transform.spaces.dim), np.float32)
    old_rows = StackedRows(gallery.parts, gallery.state.dim)
    side_rows = None if side is None else StackedRows(side.parts, side.state.dim)
    for start in range(0, len(ids), block_rows):
        names = ids[start : start + block_rows]
        old = old_rows.take(np.array([gallery.row_of[id] for id in names], np.int64))
        other = None
        if side is not None and side_rows is not None:
            other = side_rows.take(np.array([side.row_of[id] for id in names], np.int64))
        found[start : start + len(names)] = transformed_rows(transform, old, other)
    return found


def open_held_out(path: Path, space: str, dim: int) -> Snapshot:
    """Open a gallery of re-embedded vectors.

    Raises:
        IncompatibleSpaceError: It is not in the new space.
        GalleryError: It is no gallery, or a damaged one.
    """
    held_out = load_snapshot(path, False)
    if held_out.state.space != space or held_out.state.dim != dim:
        raise IncompatibleSpaceError(
            held_out.state.space,
            (),
            space,
            f"the held-out gallery {path} is in space {held_out.state.space} of {held_out.state.dim} numbers; expected "
            f"the upgrade's new space {space} of {dim}: build it with the new model",
        )
    return held_out


def _accuracy(transform: Transformer, gallery: Snapshot, side: Snapshot | None, path: Path) -> Accuracy:
    held_out = open_held_out(path, transform.spaces.space, transform.spaces.dim)
    shared = [row for row, id in enumerate(held_out.ids) if id in gallery.row_of and _complete(id, side)]
    rows = np.array(shared, np.int64)[spread(len(shared), MOST_ROWS)]
    ids = [held_out.ids[row] for row in rows]
    embedded = StackedRows(held_out.parts, held_out.state.dim).take(rows)
    old = StackedRows(gallery.parts, gallery.state.dim).take(np.array([gallery.row_of[id] for id in ids], np.int64))
    return compare(transformed(transform, gallery, side, ids, 4096), embedded, old)


def _rows_per_second(transform: Transformer, gallery: Snapshot, side: Snapshot | None, block_rows: int) -> float:
    """Time the transform on real rows, after one block to warm up."""
    complete = [id for id in gallery.ids if _complete(id, side)]
    ids = [complete[row] for row in spread(len(complete), block_rows)]
    if not ids:
        return 0.0
    times = []
    for _ in range(_ROUNDS + 1):
        start = time.perf_counter()
        transformed(transform, gallery, side, ids, block_rows)
        times.append(time.perf_counter() - start)
    return len(ids) / max(statistics.median(times[1:]), 1e-9)


def _complete(id: str, side: Snapshot | None) -> bool:
    """Whether a row can be transformed; rows of a begun upgrade may have lost their side-information since."""
    return side is None or id in side.row_of
