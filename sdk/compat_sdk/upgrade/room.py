"""The room that an upgrade takes on the disk: what a run writes and copies, and what a cutover writes anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.upgrade.assembly import MOST_SEGMENTS
from compat_sdk.upgrade.manifest import FOLDER, SIDE, Manifest
from compat_sdk.upgrade.shard import read_record


@dataclass(frozen=True)
class Room:
    """Bytes that an upgrade will still write.

    Attributes:
        run: Vectors of the shards that are not done, and 8 bytes per row that pair it with its side-information.
        copies: What a run copies because no second name can be made: rows that share a file with ones that are frozen
            already, and side-information on another file system.
        cutover: What a cutover writes anew: tables of shards that are part of a segment, and all rows where there are
            more shards than a gallery may have files. Rows that are removed until then come on top.
    """

    run: int
    copies: int
    cutover: int

    @property
    def all(self) -> int:
        """Bytes of the run, its copies and the cutover."""
        return self.run + self.copies + self.cutover


def room_for(manifest: Manifest, gallery: Snapshot, wanted: Sequence[NDArray[np.bool_]], side: Snapshot | None) -> Room:
    """Count what an upgrade will still write.

    Args:
        manifest: As it is; without sources where the upgrade is about to begin.
        gallery: Whose rows.
        wanted: For each segment of ``gallery`` bool ``[rows]``: which rows are new to the upgrade.
        side: Gallery with the side-information, if the transform takes any.
    """
    folder, spaces, item = gallery.folder / FOLDER, manifest.spaces, np.dtype(manifest.dtype).itemsize
    added = [int(np.count_nonzero(mask)) for mask in wanted]
    undone = [shard.rows for shard in manifest.shards if read_record(folder, shard, manifest.transform) is None]
    tables = [(source.segment.rows, source.segment.table.bytes) for source in manifest.sources]
    copies = _side_copies(gallery, side) if any(added) else 0
    for segment, rows in zip(gallery.state.segments, added, strict=True):
        table = segment.table.bytes * rows // max(1, segment.rows)
        tables.append((rows, table))
        if 0 < rows < segment.rows:
            copies += rows * spaces.old_dim * item + table
    shards = [-(-rows // manifest.shard_rows) for rows, _ in tables]
    merged = sum(shards) > MOST_SEGMENTS
    written = [size for (_, size), count in zip(tables, shards, strict=True) if count > 1 or merged]
    new_rows, all_rows = sum(undone) + sum(added), manifest.rows + sum(added)
    rewritten = all_rows * spaces.dim * item if merged else 0
    return Room(
        run=new_rows * spaces.dim * item + (8 * sum(added) if side is not None else 0),
        copies=copies,
        cutover=rewritten + sum(written),
    )


def require_room(gallery: Path, room: Room) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        CompatError: There is less free than the run, its copies and the cutover take.
    """
    free = shutil.disk_usage(gallery).free
    if room.all > free:
        raise CompatError(
            f"{gallery} has {free / 1e9:.1f} GB free, expected at least {room.all / 1e9:.1f} GB: "
            f"{room.run / 1e9:.1f} for new vectors, {room.copies / 1e9:.1f} for copies, {room.cutover / 1e9:.1f} for "
            f"the cutover; nothing was changed; make room and run again"
        )


def _side_copies(gallery: Snapshot, side: Snapshot | None) -> int:
    if side is None or side.folder.stat().st_dev == gallery.folder.stat().st_dev:
        return 0
    files = [segment.vectors for segment in side.state.segments]
    return sum(file.bytes for file in files if not (gallery.folder / FOLDER / SIDE / file.name).exists())
