"""Files and folders that are whole and on the disk, or absent."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new, never a part of it.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name; a process
    that dies at any point leaves the old file, and at most a stray ``.NAME.*.tmp``.

    Raises:
        OSError: The folder does not exist, is not writable, or the disk is full; the old file is untouched.
    """
    with replacing(Path(path)) as file:
        file.write(data)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """An open file that takes the name ``target`` at the end, whole and on the disk, or is gone if the block fails.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full; the old file is untouched.
    """
    temporary = _beside(target)
    try:
        with temporary.open("xb") as file:
            yield file
            _to_disk(file)
        temporary.replace(target)
    except OSError as error:
        _name_file(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextmanager
def durable_temporary(target: Path, data: bytes) -> Iterator[Path]:
    """A file with ``data`` beside ``target``, on the disk, for the caller to rename; deleted if it still is there.

    Raises:
        OSError: The folder does not exist, is not writable, or the disk is full.
    """
    temporary = _beside(target)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            _to_disk(file)
        yield temporary
    except OSError as error:
        _name_file(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _name_file(error: OSError, path: Path) -> None:
    if error.filename is None:  # a full disk is told by a number alone
        error.filename = os.fspath(path)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def link_or_copy(source: Path, target: Path) -> None:
    """Give an immutable file a second name: a hard link, or a durable copy where the system makes none.

    A target that is there already stays: call it for names that stand for one content only.

    Raises:
        OSError: There is no such file, the folder is not writable, or the disk is full.
    """
    if target.exists():
        return
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        if not source.exists():
            raise
        temporary = _beside(target)
        try:
            shutil.copyfile(source, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and the parents that it lacks, each of them on the disk; nothing if it is there.

    Args:
        folder: To be made.
        mode: Its permissions, but for what the process's mask takes away; parents have the usual ones.

    Raises:
        OSError: It cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode, parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make a rename in ``folder`` durable; nothing where the system cannot open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
