"""Rows of stored files: read by number over several files, and recognised when they are met again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery.files import Dtype, Segment
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.tables import NameCursor, Names, StoredTable
from compat_sdk.gallery.vectors import StoredParts, as_unit

_ROWS_PER_BLOCK = 16384

Rows = range | NDArray[np.int64]
"""Frozen row numbers of one segment's rows: all of a run, or int64 ``[rows]``, -1 where there is none."""


class StackedRows:
    """Arrays that stand one after the other, read by row number without joining them."""

    def __init__(self, parts: Sequence[NDArray[Any]], dim: int) -> None:
        """Keep the arrays, each ``[n, dim]`` as a gallery stores them, all of one type."""
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._dim = dim

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``[len(rows), dim]`` unit float32; a run of neighbours in one float32 array is not copied."""
        if len(rows) == 0:
            return np.empty((0, self._dim), np.float32)
        first, last = int(rows[0]), int(rows[-1])
        part = int(np.searchsorted(self._starts, first, "right")) - 1
        start = int(self._starts[part])
        if last - first == len(rows) - 1 and last < self._starts[part + 1] and bool((np.diff(rows) == 1).all()):
            return as_unit(self._parts[part][first - start : last + 1 - start])
        found = np.empty((len(rows), self._dim), self._parts[0].dtype)
        where = np.searchsorted(self._starts, rows, "right") - 1
        for part in np.unique(where):
            here = where == part
            found[here] = self._parts[part][rows[here] - self._starts[part]]
        return as_unit(found)


def stored_rows(folder: Path, segments: Sequence[Segment], dim: int, dtype: Dtype) -> StackedRows:
    """Map the vectors of ``segments``.

    Raises:
        GalleryError: A file is missing, or does not hold such an array.
    """
    return StackedRows(StoredParts(folder, segments, dim, dtype), dim)


def find_rows(current: Snapshot, folder: Path, segments: Sequence[Segment], dim: int) -> list[Rows]:
    """Say which frozen row each row of a gallery is: the same id, label and vector, to the byte, in the same order.

    Files that are the frozen ones need no look inside. Others were merged or written anew since, and are compared
    row by row; an id that was removed and added again with another vector or label is not the frozen row.

    Args:
        current: The gallery.
        folder: Where the frozen segments lie.
        segments: The frozen rows; their numbers count over all segments.
        dim: Numbers per vector.

    Returns:
        For each segment of ``current`` the numbers of frozen rows, rising over all segments.

    Raises:
        GalleryError: A frozen file is damaged.
    """
    starts: dict[tuple[str, str], int] = {}
    total = 0
    for segment in segments:
        starts[segment.vectors.sha256, segment.table.sha256] = total
        total += segment.rows
    found: list[Rows] = []
    frozen: _Frozen | None = None
    highest = -1
    for segment, part, table in zip(current.state.segments, current.parts, current.tables, strict=True):
        start = starts.get((segment.vectors.sha256, segment.table.sha256))
        if start is not None and start > highest:
            found.append(range(start, start + segment.rows))
            highest = start + segment.rows - 1
            continue
        if frozen is None:
            frozen = _Frozen(folder, segments, dim, current.state.dtype)
        rows = frozen.find(NameCursor(table), part)
        before = np.maximum.accumulate(np.concatenate([[highest], rows[:-1]]))
        rows[rows <= before] = -1  # removed and added again as it was: now it stands at the end
        highest = max(highest, int(rows.max(initial=-1)))
        found.append(rows)
    return found


def all_rows(gallery: Snapshot) -> list[NDArray[np.bool_]]:
    """Say for each segment that every row is wanted; takes no memory."""
    return [np.broadcast_to(np.True_, segment.rows) for segment in gallery.state.segments]


def unknown(found: Sequence[Rows]) -> list[NDArray[np.bool_]]:
    """Say for each segment which of its rows are no frozen ones, after `find_rows`."""
    return [np.broadcast_to(np.False_, len(rows)) if isinstance(rows, range) else rows < 0 for rows in found]


def selected(names: Iterable[Names], mask: NDArray[np.bool_]) -> Iterator[Names]:
    """Yield the ids and labels of the rows for which ``mask`` is True."""
    first = 0
    for ids, labels in names:
        here = mask[first : first + len(ids)]
        first += len(ids)
        yield list(compress(ids, here)), list(compress(labels, here))


def selected_ids(gallery: Snapshot, masks: Sequence[NDArray[np.bool_]]) -> Iterator[str]:
    """Yield the ids of the rows for which the mask of their segment is True; other segments' tables are not read.

    Raises:
        GalleryError: A table is missing or damaged.
    """
    for ids, _ in selected_names(gallery, masks):
        yield from ids


def selected_names(gallery: Snapshot, masks: Sequence[NDArray[np.bool_]]) -> Iterator[Names]:
    """Yield the ids and labels of such rows, line by line.

    Raises:
        GalleryError: A table is missing or damaged.
    """
    for table, mask in zip(gallery.tables, masks, strict=True):
        if mask.any():
            yield from selected(table.lines(), mask)


class _Frozen:
    """Frozen rows by id; all their names are held, as those of files that were written anew may be anywhere."""

    def __init__(self, folder: Path, segments: Sequence[Segment], dim: int, dtype: Dtype) -> None:
        self._rows = stored_rows(folder, segments, dim, dtype)
        self._row_of: dict[str, int] = {}
        self._labels: list[str] = []
        for segment in segments:
            for ids, labels in StoredTable(folder, segment).lines():
                first = len(self._labels)
                self._row_of.update(zip(ids, range(first, first + len(ids)), strict=True))
                self._labels += labels

    def find(self, names: NameCursor, part: NDArray[Any]) -> NDArray[np.int64]:
        """Frozen row of each row of a segment, -1 where id, label or vector differ from those of every frozen row."""
        found = np.empty(len(part), np.int64)
        for start in range(0, len(part), _ROWS_PER_BLOCK):
            stop = min(start + _ROWS_PER_BLOCK, len(part))
            block = as_unit(part[start:stop])
            candidates = found[start:stop]
            here = 0
            for ids, labels in names.between(start, stop):
                for id, label in zip(ids, labels, strict=True):
                    row = self._row_of.get(id, -1)
                    candidates[here] = row if row >= 0 and self._labels[row] == label else -1
                    here += 1
            known = np.flatnonzero(candidates >= 0)
            equal = (self._rows.take(candidates[known]).view(np.uint32) == block[known].view(np.uint32)).all(axis=1)
            candidates[known[~equal]] = -1
        return found
