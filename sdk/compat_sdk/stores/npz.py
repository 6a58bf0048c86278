"""``.npz`` files of ids and vectors, read and written member by member: no array of vectors is held whole."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import MALFORMED, array_header
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import check_space
from compat_sdk.stores.rows import ROWS_PER_BLOCK, Rows, Source, array_texts

_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
_BROKEN = (*MALFORMED, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def open_npz(path: Path) -> Source:
    """The vectors of an ``.npz`` file: ``vectors`` [n, dim] of floats, ``ids`` [n], perhaps ``labels`` and ``space``.

    Raises:
        CorruptFileError: It is damaged, an array is missing or of another form, or it holds pickles.
    """
    with _parsing(path), _archive(path) as archive:
        missing = {"ids.npy", "vectors.npy"} - set(archive.namelist())
        if missing:
            names = ", ".join(sorted(name.removesuffix(".npy") for name in missing))
            raise CorruptFileError(f"{path} lacks {names}; expected the arrays ids and vectors")
        found = _array(archive, "ids.npy")
        labels = _array(archive, "labels.npy") if "labels.npy" in archive.namelist() else None
        told = _array(archive, "space.npy") if "space.npy" in archive.namelist() else None
        with archive.open("vectors.npy") as member:
            shape, _, dtype = _header(member)
    texts = found.ndim == 1 and found.dtype.kind in "UiuS" and (labels is None or labels.shape == found.shape)
    if not texts or len(shape) != 2 or dtype.kind != "f" or len(found) != shape[0]:
        raise CorruptFileError(
            f"{path} has ids {found.dtype} {list(found.shape)} and vectors {dtype} {list(shape)}; expected texts "
            f"[n] and float32 [n, dim]"
        )
    if told is not None and told.shape != ():
        raise CorruptFileError(f"{path} names spaces {list(told.shape)}; expected one text")
    if shape[0] == 0 or shape[1] == 0:
        raise CorruptFileError(f"{path} has no rows, or no numbers in them; expected at least one of each")

    with _parsing(path):
        space = None if told is None else array_texts(told.reshape(1))[0]

    def read() -> Iterator[Rows]:
        with _parsing(path), _archive(path) as archive, archive.open("vectors.npy") as member:
            start = 0
            for block in _blocks(member):
                names = slice(start, start + len(block))
                start += len(block)
                tags = None if labels is None else array_texts(labels[names])
                yield Rows.of(array_texts(found[names]), block, tags)
            if member.read(1):
                raise ValueError("vectors has more bytes than its shape says")

    return Source(
        str(path),
        shape[1],
        shape[0],
        read,
        space=None if space is None else check_space(space),
        id_type="integer" if found.dtype.kind in "iu" else "string",
    )


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        yield
    except CorruptFileError:
        raise
    except _BROKEN as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise CorruptFileError(f"{path} is no whole .npz file ({shortened(str(error), 100)})") from error


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with open_plain(path) as file, zipfile.ZipFile(file) as archive:
        yield archive


def _header(member: IO[bytes]) -> _Header:
    """Shape, whether columns lie together, and type of the array that follows in a stream."""
    version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(member)  # type: ignore[no-untyped-call]
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never read")
    return shape, by_columns, dtype


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """A whole small array; what it says of its size must fit into the file."""
    with archive.open(name) as member:
        shape, _, dtype = _header(member)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size > archive.getinfo(name).file_size:
            raise ValueError(f"{name} says that it has {size} bytes")
    with archive.open(name) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)  # type: ignore[no-untyped-call]
    return array


def _blocks(member: IO[bytes]) -> Iterator[NDArray[Any]]:
    """The rows of an array of two dimensions in a stream."""
    (rows, dim), by_columns, dtype = _header(member)
    if by_columns and rows > 1 and dim > 1:
        data = _exactly(member, rows * dim * dtype.itemsize)
        yield np.frombuffer(data, dtype).reshape(dim, rows).T
        return
    for start in range(0, rows, ROWS_PER_BLOCK):
        count = min(ROWS_PER_BLOCK, rows - start)
        data = _exactly(member, count * dim * dtype.itemsize)
        yield np.frombuffer(data, dtype).reshape(count, dim)


def _exactly(member: IO[bytes], size: int) -> bytes:
    data = member.read(size)
    if len(data) != size:
        raise ValueError("it ends too early")
    return data


def write_npz(file: BinaryIO, rows: Iterable[Rows], shape: tuple[int, int], space: str, *, integers: bool) -> None:
    """Write rows as the arrays ``vectors``, ``ids``, ``labels`` and ``space``; of a payload there is none.

    Args:
        file: Open for writing.
        rows: All of them.
        shape: How many there are, and numbers per vector.
        space: Embedding space of the vectors.
        integers: Whether the ids are written as whole numbers of 64 bits.

    Raises:
        DataError: A text ends with NUL, which an array of texts cannot hold.
    """
    ids, labels = list[str](), list[str]()
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open("vectors.npy", "w", force_zip64=True) as member:
            member.write(array_header("<f4", shape))
            for block in rows:
                member.write(np.ascontiguousarray(block.vectors, "<f4").tobytes())
                ids += block.ids
                labels += block.labels
        for text in (*ids, *labels):
            if text.endswith("\0"):
                raise DataError(f"{shown_value(text)} ends with NUL, which an .npz file cannot hold; rename it")
        named = np.array([int(id) for id in ids], np.int64) if integers else np.array(ids, np.str_)
        for name, array in (("ids", named), ("labels", np.array(labels, np.str_)), ("space", np.array(space))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)  # type: ignore[no-untyped-call]
