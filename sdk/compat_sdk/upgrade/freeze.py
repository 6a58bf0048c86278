"""Freezing what a run reads: the gallery may be compacted, and rows removed, without the run noticing.

The files of a gallery never change, they are only deleted once they are superseded. So a second name, a hard link,
keeps them at no cost; where the system makes none (another file system, FAT) they are copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import array_header, read_array
from compat_sdk.errors import GalleryError
from compat_sdk.files.atomic import link_or_copy, make_folder
from compat_sdk.gallery.files import RESTORE, Segment, StoredFile, problem_with, write_new
from compat_sdk.gallery.segments import write_segment
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.tables import StoredTable
from compat_sdk.gallery.vectors import blocks, require_held, write_vectors
from compat_sdk.missing_side import MissingSide
from compat_sdk.upgrade.manifest import SIDE, SOURCES, Manifest, Side, Source
from compat_sdk.upgrade.pairing import Pairing
from compat_sdk.upgrade.rows import find_rows, selected, unknown


def new_rows(folder: Path, manifest: Manifest, gallery: Snapshot) -> list[NDArray[np.bool_]]:
    """Say which rows of each segment of ``gallery`` the upgrade in ``folder`` has not frozen yet."""
    return unknown(find_rows(gallery, folder / SOURCES, manifest.segments, manifest.spaces.old_dim))


def freeze(
    folder: Path,
    manifest: Manifest,
    gallery: Snapshot,
    wanted: Sequence[NDArray[np.bool_]],
    side: Snapshot | None,
    missing_side: MissingSide = "refuse",
) -> Manifest:
    """Give the wanted rows, and their side-information, names of the upgrade's own.

    Args:
        folder: The upgrade's.
        manifest: As it is.
        gallery: Whose rows.
        wanted: For each segment of ``gallery`` bool ``[rows]``: which rows.
        side: Gallery with the side-information.
        missing_side: Whether rows without side-information are refused, or take zeros.

    Returns:
        The manifest with these rows as further sources; it counts once it is written.

    Raises:
        DataError: Rows have no side-information; the message names them.
        GalleryError: A file differs from its digest.
        OSError: The disk is full, or the folder not writable.
    """
    for name in (SOURCES, SIDE):
        make_folder(folder / name)
    side_segments, pairing = list[Segment](), None
    if side is not None:
        parts = zip(side.state.segments, side.parts, strict=True)
        side_segments = [_side_vectors(folder / SIDE, side, *one) for one in parts]
        pairing = Pairing(side)
    sources = list(manifest.sources)
    for row, mask in enumerate(wanted):
        if not mask.any():
            continue
        number = len(sources)
        frozen = _source(folder / SOURCES, number, gallery, row, mask)
        paired = None
        if side is not None and pairing is not None:
            missing = pairing.missing
            pairs = _write_pairs(folder / SOURCES, number, pairing, frozen)
            paired = Side(tuple(side_segments), side.state.dtype, pairs, pairing.missing - missing)
        sources.append(Source(frozen, paired))
    if pairing is not None:
        pairing.require_all(missing_side)
    return replace(manifest, sources=tuple(sources))


def sweep_sources(folder: Path, manifest: Manifest) -> None:
    """Delete what a killed `freeze` left behind; call it with the upgrade's lock held."""
    named = set()
    for source in manifest.sources:
        named |= {source.segment.vectors.name, source.segment.table.name}
        if source.side is not None:
            named |= {source.side.pairs.name, *(segment.vectors.name for segment in source.side.segments)}
    for name in (SOURCES, SIDE):
        for path in (folder / name).iterdir() if (folder / name).exists() else ():
            if path.name not in named:
                path.unlink(missing_ok=True)


def open_pairs(folder: Path, side: Side, rows: int) -> NDArray[np.int64]:
    """Map which row of side-information belongs to each of the ``rows`` rows of a source.

    Raises:
        GalleryError: The file is missing, or holds something else.
    """
    path = folder / SOURCES / side.pairs.name
    pairs = read_array(path, mapped=True, advice="discard the upgrade and run it again", error=GalleryError)
    if pairs.dtype != np.int64 or pairs.shape != (rows,):
        raise GalleryError(f"{path} holds {pairs.dtype} {list(pairs.shape)}, expected int64 {[rows]}; discard the run")
    return pairs


def _source(folder: Path, number: int, gallery: Snapshot, row: int, mask: NDArray[np.bool_]) -> Segment:
    """Freeze the rows of the gallery's segment ``row`` that ``mask`` is True for."""
    segment, part, table = gallery.state.segments[row], gallery.parts[row], gallery.tables[row]
    if mask.all() and _linked(gallery.folder, folder, segment.vectors, segment.table):
        return segment
    require_held(gallery.folder, segment, part)
    shape = (int(np.count_nonzero(mask)), part.shape[1])
    names = selected(table.lines(), mask)
    return write_segment(folder, number, blocks([part], mask), shape, names, gallery.state.dtype)


def _side_vectors(folder: Path, side: Snapshot, segment: Segment, part: NDArray[Any]) -> Segment:
    if _linked(side.folder, folder, segment.vectors):
        return segment
    require_held(side.folder, segment, part)
    return replace(segment, vectors=write_vectors(folder, 0, blocks([part]), part.shape, side.state.dtype))


def _linked(source: Path, target: Path, *files: StoredFile) -> bool:
    """Give files second names; False where a writer has deleted one meanwhile, which can be written from what is held.

    Raises:
        GalleryError: A file differs from its digest.
        OSError: The disk is full, or the folder not writable.
    """
    for file in files:
        try:
            link_or_copy(source / file.name, target / file.name)
        except FileNotFoundError:
            return False
        problem = problem_with(target, file)
        if problem:
            raise GalleryError(f"{problem}; {RESTORE}")
    return True


def _write_pairs(folder: Path, number: int, pairing: Pairing, segment: Segment) -> StoredFile:
    lines = StoredTable(folder, segment).lines()
    rows = (pairing.rows(*names).astype("<i8", copy=False).data.cast("B") for names in lines)
    return write_new(folder, "pairs", number, ".npy", chain([array_header("<i8", (segment.rows,))], rows))
