"""Large arrays of pixels in files that are mapped into memory."""

from __future__ import annotations

import errno
import math
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from compat_sdk.files.atomic import sync_folder
from compat_train.runs.run_files import alone

ResultT = TypeVar("ResultT")
_BLOCK = 1 << 20  # bytes


def write_mapped(path: Path, shape: tuple[int, ...], fill: Callable[[NDArray[np.uint8]], ResultT]) -> ResultT:
    """Fills a zeroed array in a new file, which then takes the place of ``path``, or is gone if that fails.

    The disk's space is taken at once: a full disk is an error here, where writing to a sparse file that is mapped into
    memory would kill the process. One process at a time writes in a folder, see `writing_images`, and deletes what
    killed ones left there.

    Args:
        path: File to write, with the suffix ``.pixels``. Who has mapped the one before keeps it; on Windows such a file
            cannot be replaced.
        shape: Of the array, uint8, not empty.
        fill: Writes the array, and does not keep it.

    Returns:
        What ``fill`` does.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    for left in path.parent.glob(f"*.pixels.{'[0-9a-f]' * 12}.tmp"):
        left.unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        reserve(temporary, math.prod(shape))
        mapped = np.memmap(temporary, np.uint8, "r+", shape=shape)
        result = fill(mapped)
        mapped.flush()
        del mapped
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):  # on Windows a file that is still mapped stays, until the next call
            temporary.unlink(missing_ok=True)
    return result


def writing_images(folder: Path) -> AbstractContextManager[None]:
    """Around `write_mapped`: waits while other processes write images in the folder, which trainings may share.

    Raises:
        TrainingError: The lock is no file.
        OSError: The folder cannot be made.
    """
    return alone(folder / "pixels.lock", f"writing images in {folder}", waits=True)


def reserve(path: Path, size: int) -> None:
    """Makes a new file of so many zeros, each with its place on the disk.

    Raises:
        OSError: There is such a file, the folder cannot be written, or the disk is full.
    """
    try:
        with path.open("xb") as file:
            if not _allocated(file, size):
                for start in range(0, size, _BLOCK):
                    file.write(bytes(min(_BLOCK, size - start)))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, {size:,} bytes are needed", str(path)) from error


def _allocated(file: BinaryIO, size: int) -> bool:
    """Whether the system and the file system can reserve space without writing it, and have done so."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return False
    return True
