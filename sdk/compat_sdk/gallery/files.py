"""The files of a gallery: written once under a new name, recorded, and read only as recorded."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compat_sdk.errors import GalleryError
from compat_sdk.files.digests import file_problem
from compat_sdk.files.plain import open_plain, read_chunks
from compat_sdk.files.refusal import raise_if_refused

Dtype = Literal["float32", "float16", "int8"]
"""How the numbers of a gallery lie on the disk; they are unit float32 rows to everyone who reads them."""

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
