"""The files of a gallery that hold rows: written once under a new name, and read only as recorded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import GalleryError
from compat_sdk.files import file_problem

RESTORE = "restore the gallery from a copy, or build it again"


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
    blocks: Iterable[NDArray[np.float32]],
    dim: int,
    ids: Sequence[str],
    labels: Sequence[str],
) -> Segment:
    """Write the rows of ``blocks``, in order, as a new segment; it counts once a state names it."""
    header = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (len(ids), dim)}
    np.lib.format.write_array_header_1_0(header, description)  # type: ignore[no-untyped-call]
    pieces = (np.ascontiguousarray(block, "<f4").data.cast("B") for block in blocks if len(block))
    vectors = write_new(folder, "vectors", generation, ".npy", _chain(header.getvalue(), pieces))
    # ASCII escapes keep ids that are no valid Unicode, such as undecodable file names.
    table = json.dumps({"ids": list(ids), "labels": list(labels)}).encode("ascii")
    return Segment(len(ids), vectors, write_new(folder, "rows", generation, ".json", [table]))


def write_new(
    folder: Path, kind: str, generation: int, suffix: str, pieces: Iterable[bytes | memoryview]
) -> StoredFile:
    """Write a file under a name never used before, to the disk, and record what it holds."""
    name = f"{kind}-{generation:08d}-{secrets.token_hex(8)}{suffix}"
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("xb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return StoredFile(name, digest.hexdigest(), size)


def open_vectors(folder: Path, segment: Segment, dim: int) -> NDArray[np.float32]:
    """Map the vectors of a segment, ``[rows, dim]`` float32, read-only; only the size is checked here.

    Raises:
        GalleryError: The file is missing, or does not hold such an array.
    """
    path = folder / segment.vectors.name
    try:
        size = path.stat().st_size
        array = np.load(path, mmap_mode="r", allow_pickle=False) if size == segment.vectors.bytes else None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise GalleryError(f"cannot read {path}: {error}; {RESTORE}") from error
    if array is None:
        raise GalleryError(f"{path} has {size} bytes, expected {segment.vectors.bytes}; {RESTORE}")
    good = array.dtype == np.float32 and array.shape == (segment.rows, dim) and array.flags.c_contiguous
    if not good:
        raise GalleryError(
            f"{path} holds {array.dtype} {list(array.shape)}, expected float32 {[segment.rows, dim]}; {RESTORE}"
        )
    vectors: NDArray[np.float32] = array.view(np.ndarray)
    return vectors


def read_table(folder: Path, segment: Segment) -> tuple[list[str], list[str]]:
    """Read the ids and labels of a segment.

    Raises:
        GalleryError: The file is missing, damaged, or of another length.
    """
    data = read_checked(folder, segment.table)
    try:
        value = json.loads(data)
        ids, labels = value["ids"], value["labels"]
        good = len(ids) == len(labels) == segment.rows and all(type(item) is str for item in ids + labels)
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise GalleryError(f"{folder / segment.table.name} does not list {segment.rows} ids and labels; {RESTORE}")
    return ids, labels


def read_checked(folder: Path, file: StoredFile, advice: str = RESTORE) -> bytes:
    """Return the content of a file after comparing its digest: the very bytes that were checked.

    Raises:
        GalleryError: The file is missing, or differs from its record.
    """
    try:
        data = (folder / file.name).read_bytes()
    except OSError as error:
        raise GalleryError(f"cannot read {folder / file.name}: {error.strerror or error}; {advice}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise GalleryError(
            f"{folder / file.name} has {len(data)} bytes and SHA-256 {found}, expected {file.bytes} bytes and "
            f"{file.sha256}; {advice}"
        )
    return data


def problem_with(folder: Path, file: StoredFile) -> str | None:
    """Say how a file differs from its record, or return None."""
    problem = file_problem(folder / file.name, {"sha256": file.sha256, "bytes": file.bytes})
    return f"{folder / file.name} {problem}" if problem else None


def _chain(header: bytes, pieces: Iterable[memoryview]) -> Iterator[bytes | memoryview]:
    yield header
    yield from pieces
