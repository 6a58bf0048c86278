"""A new gallery of the rows of a store: whole and checked, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError, ConfigError
from compat_sdk.exchange.checked import Lengths, SeenIds, checked_rows, require_once
from compat_sdk.exchange.place import Reading, open_source
from compat_sdk.files.atomic import make_folder, replacing
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import Dtype, Segment, new_files
from compat_sdk.gallery.lock import LOCK_FILE, write_lock
from compat_sdk.gallery.payload import PAYLOAD_FILE, payload_lines
from compat_sdk.gallery.state import STATE_FILE, State
from compat_sdk.gallery.store import LAYOUT, sweep, write_state
from compat_sdk.gallery.tables import StoredTable, write_table
from compat_sdk.gallery.vectors import write_vectors
from compat_sdk.outputs import require_own
from compat_sdk.progress import Progress
from compat_sdk.shown import as_unicode
from compat_sdk.space import check_dim, check_space, require_space
from compat_sdk.stores import Rows, Source

_ROWS_PER_SEGMENT = 1 << 20
_FIRST = 1  # the number of the files that an import writes


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
    if (folder / STATE_FILE).exists():
        raise ConfigError(f"{folder} is a gallery already; choose another folder for the new one")
    require_own(folder, LAYOUT, "gallery import")
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
        new = not folder.exists()
        try:
            make_folder(folder)
            with write_lock(folder):
                _fill(folder, source, State(named, source.dim, model, _FIRST, 1, dtype=dtype), lengths, progress)
        except BaseException as error:
            if new:
                with suppress(OSError):
                    (folder / LOCK_FILE).unlink(missing_ok=True)
                    folder.rmdir()
            if isinstance(error, OSError):
                raise CompatError(
                    f"cannot write gallery {folder}: {error.strerror or error}; nothing is left there; make room or "
                    f"set permissions, and try again"
                ) from error
            raise
    return Gallery.open(folder, verify=False)


def _fill(folder: Path, source: Source, state: State, lengths: Lengths, progress: Progress | None) -> None:
    """Write every row, and the state at the very end."""
    sweep(folder, state)
    for path in (folder / PAYLOAD_FILE, *folder.glob(f".{PAYLOAD_FILE}.*.tmp")):  # of an import that was killed
        path.unlink(missing_ok=True)
    rows, seen, beside = _Stream(source, lengths, progress), SeenIds(), False
    with new_files() as written:
        try:
            segments = []
            with replacing(folder / PAYLOAD_FILE) as payload:
                for start in range(0, source.rows, _ROWS_PER_SEGMENT):
                    count = min(_ROWS_PER_SEGMENT, source.rows - start)
                    names: list[tuple[list[str], list[str]]] = []

                    def vectors(count: int = count, names: list[Any] = names) -> Iterator[NDArray[Any]]:
                        nonlocal beside
                        for piece in rows.take(count):
                            names.append((list(piece.ids), list(piece.labels)))
                            seen.add(piece.ids)
                            if any(piece.payload):
                                beside = True
                                payload.writelines(payload_lines(piece.ids, piece.payload))
                            yield piece.vectors

                    file = write_vectors(folder, _FIRST, vectors(), (count, state.dim), state.dtype)
                    segments.append(Segment(count, file, write_table(folder, _FIRST, names, count)))
                rows.end()
                tables = (names for segment in segments for names in StoredTable(folder, segment).lines())
                require_once(seen, source.what, tables)
            if not beside:
                (folder / PAYLOAD_FILE).unlink()
            full = State(
                state.space, state.dim, state.model, state.generation, state.content, tuple(segments), None, state.dtype
            )
            write_state(folder, full, None)
        except BaseException:
            for path in (*written, folder / PAYLOAD_FILE):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise


class _Stream:
    """The checked rows of a source, taken in counted portions."""

    def __init__(self, source: Source, lengths: Lengths, progress: Progress | None) -> None:
        self._rows, self._rest = checked_rows(source, lengths), Rows.of([], np.empty((0, source.dim), np.float32))
        self._done, self._source, self._progress = 0, source, progress

    def take(self, count: int) -> Iterator[Rows]:
        """Yield exactly the next ``count`` rows."""
        while count:
            if not len(self._rest):
                self._rest = next(self._rows)
            piece, self._rest = _divided(self._rest, count)
            count -= len(piece)
            self._done += len(piece)
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
