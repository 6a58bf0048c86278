"""The files of a gallery that hold rows: written once under a new name, and read only as recorded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import read_array
from compat_sdk.errors import GalleryError
from compat_sdk.files.digests import file_problem
from compat_sdk.files.plain import open_plain, read_chunks
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.gallery.compact import from_float16, from_int8, to_float16, to_int8
from compat_sdk.shown import shortened

Dtype = Literal["float32", "float16", "int8"]
"""How the numbers of a gallery lie on the disk; they are unit float32 rows to everyone who reads them."""

Names = tuple[Sequence[str], Sequence[str]]
"""The ids and labels of consecutive rows."""

RESTORE = "restore the gallery from a copy, or build it again"
_ROWS_PER_LINE = 65536


@dataclass(frozen=True)
class StoredFile:
    """Name, SHA-256 (64 hexadecimal digits) and size of a file in the gallery's folder."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Segment:
    """A run of consecutive rows: how many, and the files that hold their vectors and their ids."""

    rows: int
    vectors: StoredFile
    table: StoredFile


def write_segment(
    folder: Path,
    generation: int,
    blocks: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    names: Iterable[Names],
    dtype: Dtype = "float32",
) -> Segment:
    """Write the rows of ``blocks`` and their ``names``, in order, as a new segment; it counts once a state names it.

    See `write_vectors` and `write_table`.
    """
    vectors = write_vectors(folder, generation, blocks, shape, dtype)
    return Segment(shape[0], vectors, write_table(folder, generation, names, shape[0]))


def write_vectors(
    folder: Path,
    generation: int,
    blocks: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    dtype: Dtype = "float32",
) -> StoredFile:
    """Write the rows of ``blocks``, in order, as one array of this shape and type.

    Unit float32 rows are rounded to ``dtype``; rows that are of it already, since they were read from such a file, are
    written as they are: rounding them again might move them.
    """
    descr = {"float32": "<f4", "float16": "<f2", "int8": "|i1"}[dtype]
    pieces = (np.ascontiguousarray(as_stored(block, dtype), descr).data.cast("B") for block in blocks if len(block))
    return write_new(folder, "vectors", generation, ".npy", chain([array_header(descr, shape)], pieces))


def array_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The beginning of an .npy file whose rows follow piece by piece."""
    header = io.BytesIO()
    description = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)  # type: ignore[no-untyped-call]
    return header.getvalue()


def write_table(folder: Path, generation: int, names: Iterable[Names], rows: int) -> StoredFile:
    """Write the ids and labels of a segment of this many rows: one JSON object per line and 65,536 rows.

    With one line it is the JSON file of earlier releases; with more its name says so, and they refuse it.
    """
    suffix = ".json" if rows <= _ROWS_PER_LINE else ".jsonl"
    return write_new(folder, "rows", generation, suffix, _lines(names))


_written: ContextVar[list[Path] | None] = ContextVar("written", default=None)


@contextmanager
def new_files() -> Iterator[list[Path]]:
    """The files that `write_new` writes inside this block, as they come."""
    found: list[Path] = []
    token = _written.set(found)
    try:
        yield found
    finally:
        _written.reset(token)


def write_new(
    folder: Path, kind: str, generation: int, suffix: str, pieces: Iterable[bytes | memoryview]
) -> StoredFile:
    """Write a file under a name never used before, to the disk, and record what it holds; gone again if it fails."""
    name = f"{kind}-{generation:08d}-{secrets.token_hex(8)}{suffix}"
    digest, size = hashlib.sha256(), 0
    try:
        with (folder / name).open("xb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            (folder / name).unlink()
        raise
    written = _written.get()
    if written is not None:
        written.append(folder / name)
    return StoredFile(name, digest.hexdigest(), size)


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


def read_names(folder: Path, segment: Segment) -> Iterator[tuple[list[str], list[str]]]:
    """Read the ids and labels of a segment, a line of its table at a time, after comparing the file's digest.

    Raises:
        GalleryError: The file is missing, damaged, or of another length.
    """
    path, rows = folder / segment.table.name, 0
    problem = problem_with(folder, segment.table)
    if problem:
        raise GalleryError(f"{problem}; {RESTORE}")
    try:
        with open_plain(path) as file:
            for line in file:
                value = json.loads(line)
                ids, labels = value["ids"], value["labels"]
                if len(ids) != len(labels) or not set(map(type, ids)) | set(map(type, labels)) <= {str}:
                    raise ValueError(f"a line of {len(ids)} ids and {len(labels)} labels")
                rows += len(ids)
                yield ids, labels
        if rows != segment.rows:
            raise ValueError(f"{rows} rows")
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {RESTORE}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GalleryError(
            f"{path} does not list {segment.rows} ids and labels ({shortened(repr(error))}); {RESTORE}"
        ) from error


class NameCursor:
    """The ids and labels of a segment from a row to another, later ones later, a line in memory at a time."""

    def __init__(self, folder: Path, segment: Segment) -> None:
        """Read nothing yet."""
        self._lines = read_names(folder, segment)
        self._line: tuple[list[str], list[str]] = ([], [])
        self._first = 0  # row of the line's first name

    def between(self, start: int, stop: int) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the names of rows ``start`` to ``stop``, which were not passed yet.

        Raises:
            GalleryError: The file is missing, damaged, or of another length.
        """
        while start < stop:
            ids, labels = self._line
            if start < self._first + len(ids):
                piece = slice(start - self._first, stop - self._first)
                yield ids[piece], labels[piece]
                start = min(stop, self._first + len(ids))
            else:
                self._first += len(ids)
                self._line = next(self._lines)


def read_checked(folder: Path, file: StoredFile, advice: str = RESTORE) -> bytes:
    """Return the content of a file after comparing its digest: the very bytes that were checked.

    Raises:
        GalleryError: The file is missing, or differs from its record.
    """
    try:
        with open_plain(folder / file.name) as opened:
            data = b"".join(read_chunks(opened, file.bytes + 1))  # more is not read
    except OSError as error:
        raise_if_refused(folder / file.name, error)
        raise GalleryError(f"cannot read {folder / file.name}: {error.strerror or error}; {advice}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise GalleryError(
            f"{folder / file.name} has {len(data)} bytes and SHA-256 {found}, expected {file.bytes} bytes and "
            f"{file.sha256}; {advice}"
        )
    return data


def require_intact(folder: Path, files: Iterable[StoredFile], advice: str = RESTORE) -> None:
    """Compare the digests of files whose bytes are about to become those of new ones.

    A new file has a digest of its own: damage that goes into it can never be found again.

    Raises:
        GalleryError: A file differs from its record.
        SystemRefusedError: The system refused to read one.
    """
    for file in files:
        problem = problem_with(folder, file)
        if problem:
            raise GalleryError(f"{problem}; nothing was changed; {advice}")


def problem_with(folder: Path, file: StoredFile) -> str | None:
    """Say how a file differs from its record, or return None."""
    problem = file_problem(folder / file.name, {"sha256": file.sha256, "bytes": file.bytes})
    return f"{folder / file.name} {problem}" if problem else None


def _lines(names: Iterable[Names]) -> Iterator[bytes]:
    ids, labels = list[str](), list[str]()
    for more_ids, more_labels in names:
        for start in range(0, len(more_ids), _ROWS_PER_LINE):  # at most a line more: what is left over moves once
            ids += more_ids[start : start + _ROWS_PER_LINE]
            labels += more_labels[start : start + _ROWS_PER_LINE]
            if len(ids) > _ROWS_PER_LINE:
                yield _line(ids[:_ROWS_PER_LINE], labels[:_ROWS_PER_LINE]) + b"\n"
                del ids[:_ROWS_PER_LINE], labels[:_ROWS_PER_LINE]
    yield _line(ids, labels)


def _line(ids: list[str], labels: list[str]) -> bytes:
    # ASCII escapes keep ids that are no valid Unicode, such as undecodable file names.
    return json.dumps({"ids": ids, "labels": labels}).encode("ascii")
