"""A new gallery of the rows of a store: whole and checked, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from compat_sdk.errors import ConfigError
from compat_sdk.exchange.checked import Lengths, SeenIds, checked_rows, require_once
from compat_sdk.exchange.place import Reading, open_source
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.filling import filling, require_unfilled
from compat_sdk.gallery.tables import StoredTable
from compat_sdk.progress import Progress
from compat_sdk.shown import as_unicode
from compat_sdk.space import check_dim, check_space, require_space
from compat_sdk.stores import Rows, Source

_WHAT = "gallery import"
_ROWS_PER_SEGMENT = 1 << 20


def import_gallery(
    place: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    space: str | None = None,
    reading: Reading | None = None,
    lengths: Lengths = "refuse",
    dtype: Dtype = "float32",
    progress: Progress | None = None,
) -> Gallery:
    """Make a gallery of the rows of a store.

    Rows stream from the one to the other: memory holds the ids of a million rows, and 16 bytes of every id. A process
    that dies on the way leaves files that are no gallery; the same call again deletes them and begins anew.

    Args:
        place: A file, a gallery folder, or the address of a collection, see `compat_sdk.exchange.place`.
        out: Folder of the gallery; absent, empty, or what a killed import left.
        space: Embedding space of the vectors; None where the store names it.
        reading: What the store does not say itself.
        lengths: What becomes of vectors that are not of length 1.
        dtype: Of the gallery's files.
        progress: Told how many rows are in.

    Returns:
        The gallery. Its ``model`` says where it is from.

    Raises:
        ConfigError: No space is told and none named, a setting is out of its range, or ``out`` holds something else.
        IncompatibleSpaceError: The store names another space than is told.
        CorruptFileError: The store is damaged.
        StoreError: The store is away.
        VectorError: A vector is none that a gallery may hold.
        DataError: An id occurs twice or is empty, or a payload is none that is kept.
        MissingExtraError: What reads the store is not installed.
        CompatError: The disk is full or the folder cannot be written.
    """
    folder = Path(out)
    for name, told, known in (("lengths", lengths, get_args(Lengths)), ("dtype", dtype, get_args(Dtype))):
        if told not in known:
            raise ConfigError(f"{name} is {told!r}; expected one of {', '.join(known)}")
    if space is not None:
        check_space(space)
    require_unfilled(folder, _WHAT)
    with open_source(place, reading) as source:
        if source.space is not None:
            require_space(source.what, source.space, space)
        named = source.space or space
        if named is None:
            raise ConfigError(f"{source.what} does not say in which space its vectors are; tell it, as --space NAME")
        check_dim("dim", source.dim)
        kept = {"refuse": "unit", "drop": "dropped", "keep": "kept"}[lengths]
        what = as_unicode(source.what)
        imported = {"from": what, "ids": source.id_type, "lengths": kept, "distance": source.distance}
        model = {"name": Path(what).name, "imported": imported}
        rows = _Stream(source, lengths, progress)
        with filling(folder, _WHAT, space=named, dim=source.dim, model=model, dtype=dtype) as filled:
            for start in range(0, source.rows, _ROWS_PER_SEGMENT):
                count = min(_ROWS_PER_SEGMENT, source.rows - start)
                filled.add(rows.take(count), count)
            rows.end()
            tables = (names for segment in filled.segments for names in StoredTable(folder, segment).lines())
            require_once(rows.seen, source.what, tables)
    return Gallery.open(folder, verify=False)


class _Stream:
    """The checked rows of a source, taken in counted portions."""

    def __init__(self, source: Source, lengths: Lengths, progress: Progress | None) -> None:
        self._rows, self._rest = checked_rows(source, lengths), Rows.of([], np.empty((0, source.dim), np.float32))
        self._done, self._source, self._progress = 0, source, progress
        self.seen = SeenIds()

    def take(self, count: int) -> Iterator[Rows]:
        """Yield exactly the next ``count`` rows."""
        while count:
            if not len(self._rest):
                self._rest = next(self._rows)
            piece, self._rest = _divided(self._rest, count)
            count -= len(piece)
            self._done += len(piece)
            self.seen.add(piece.ids)
            if self._progress is not None:
                self._progress("importing", self._done, self._source.rows, {})
            yield piece

    def end(self) -> None:
        """Refuse a source that has more rows than it said."""
        if len(self._rest) or next(self._rows, None) is not None:
            for _ in self._rows:  # counted, and refused at its end
                pass


def _divided(rows: Rows, count: int) -> tuple[Rows, Rows]:
    first, rest = slice(0, count), slice(count, None)
    return (
        Rows(rows.ids[first], rows.vectors[first], rows.labels[first], rows.payload[first]),
        Rows(rows.ids[rest], rows.vectors[rest], rows.labels[rest], rows.payload[rest]),
    )
