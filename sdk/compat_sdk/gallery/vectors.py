"""The vectors of a gallery on disk: one array file per segment, in the gallery's type, mapped when they are read."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import array_header, read_array
from compat_sdk.errors import GalleryError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.gallery.compact import from_float16, from_int8, to_float16, to_int8
from compat_sdk.gallery.files import RESTORE, Dtype, Segment, StoredFile, require_intact, write_new

_DESCR = {"float32": "<f4", "float16": "<f2", "int8": "|i1"}
_ROWS_PER_READ = 65536


def write_vectors(
    folder: Path,
    generation: int,
    pieces: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    dtype: Dtype = "float32",
) -> StoredFile:
    """Write the rows of ``pieces``, in order, as one array of this shape and type.

    Unit float32 rows are rounded to ``dtype``; rows that are of it already, since they were read from such a file, are
    written as they are: rounding them again might move them.
    """
    descr = _DESCR[dtype]
    data = (np.ascontiguousarray(as_stored(rows, dtype), descr).data.cast("B") for rows in pieces if len(rows))
    return write_new(folder, "vectors", generation, ".npy", chain([array_header(descr, shape)], data))


def require_held(folder: Path, segment: Segment, part: NDArray[Any]) -> None:
    """Compare the digest of mapped rows that are about to be written anew, though a writer has deleted their file.

    Raises:
        GalleryError: They differ from the segment's record.
        SystemRefusedError: The system refused to read the file.
    """
    if _held_sha256(part) != segment.vectors.sha256:
        require_intact(folder, [segment.vectors])  # other releases may have written the same rows with another header


def _held_sha256(part: NDArray[Any]) -> str:
    """SHA-256 of the file that `write_vectors` makes of stored rows, which is that of the file they are mapped from."""
    digest = hashlib.sha256(array_header(_DESCR[part.dtype.name], part.shape))
    for start in range(0, len(part), _ROWS_PER_READ):
        digest.update(np.ascontiguousarray(part[start : start + _ROWS_PER_READ]).data.cast("B"))
    return digest.hexdigest()


def as_unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored rows as unit float32 rows: themselves if that is how they are stored."""
    if rows.dtype == np.float32:
        return rows
    return from_int8(rows) if rows.dtype == np.int8 else from_float16(rows)


def as_stored(rows: NDArray[Any], dtype: Dtype) -> NDArray[Any]:
    """Return rows as they lie on the disk: unit float32 rows rounded to ``dtype``, rows of ``dtype`` themselves."""
    if rows.dtype == np.dtype(dtype):
        return rows
    return to_int8(rows) if dtype == "int8" else to_float16(rows)


def blocks(parts: Iterable[NDArray[Any]], keep: NDArray[np.bool_] | None = None) -> Iterator[NDArray[Any]]:
    """Yield the rows of ``parts`` as they are, in pieces of bounded size, without those that ``keep`` is False for."""
    first = 0
    for part in parts:
        for start in range(0, len(part), _ROWS_PER_READ):
            block = part[start : start + _ROWS_PER_READ]
            yield block if keep is None else block[keep[first + start : first + start + len(block)]]
        first += len(part)


def open_vectors(folder: Path, segment: Segment, dim: int, dtype: Dtype = "float32") -> NDArray[Any]:
    """Map the vectors of a segment, ``[rows, dim]`` of ``dtype``, read-only; only the size is checked here.

    Raises:
        GalleryError: The file is missing, or does not hold such an array.
    """
    path = folder / segment.vectors.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {RESTORE}") from error
    if size != segment.vectors.bytes:
        raise GalleryError(f"{path} has {size} bytes, expected {segment.vectors.bytes}; {RESTORE}")
    array = read_array(path, mapped=True, advice=RESTORE, error=GalleryError)
    good = array.dtype == np.dtype(dtype) and array.shape == (segment.rows, dim) and array.flags.c_contiguous
    if not good:
        raise GalleryError(
            f"{path} holds {array.dtype} {list(array.shape)}, expected {dtype} {[segment.rows, dim]}; {RESTORE}"
        )
    return array


class StoredParts(Sequence[NDArray[Any]]):
    """The vectors of segments, each file opened when it is looked at, and few of them at a time.

    A process may hold only so many open files, and a mapped one is open. Whoever uses this makes sure that nobody
    deletes the files meanwhile: by the gallery's lock, or by second names.
    """

    _MOST_OPEN = 16

    def __init__(self, folder: Path, segments: Sequence[Segment], dim: int, dtype: Dtype) -> None:
        """Open nothing yet."""
        self._folder, self._segments, self._dim, self._dtype = folder, segments, dim, dtype
        self._opened: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[Any]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[Any] | Sequence[NDArray[Any]]:
        """Open one part, or name some that are opened later.

        Raises:
            GalleryError: A file is missing, or does not hold vectors of this shape and type.
        """
        if isinstance(index, slice):
            return StoredParts(self._folder, self._segments[index], self._dim, self._dtype)
        number = range(len(self))[index]
        if number not in self._opened:
            self._opened[number] = open_vectors(self._folder, self._segments[number], self._dim, self._dtype)
            if len(self._opened) > self._MOST_OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(number)
        return self._opened[number]
