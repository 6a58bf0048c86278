"""Large arrays of pixels in files that are mapped into memory."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from compat_sdk.files import open_locked

ResultT = TypeVar("ResultT")
_BLOCK = 1 << 20  # bytes


def write_mapped(path: Path, shape: tuple[int, ...], fill: Callable[[NDArray[np.uint8]], ResultT]) -> ResultT:
    """Fills a zeroed array in a new file, which then takes the place of ``path``, or is gone if that fails.

    The disk's space is taken at once: a full disk is an error here, where writing to a sparse file that is mapped into
    memory would kill the process. What processes that were killed left behind in the folder is deleted.

    Args:
        path: File to write, with the suffix ``.pixels``; whoever has mapped the one before keeps it.
        shape: Of the array, uint8, not empty.
        fill: Writes the array, and does not keep it.

    Returns:
        What ``fill`` does.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob("*.pixels.*.tmp"):
        with suppress(OSError), open_locked(left):
            left.unlink()
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open_locked(temporary) as file:
            _reserve(file, math.prod(shape), temporary)
            mapped = np.memmap(temporary, np.uint8, "r+", shape=shape)
            result = fill(mapped)
            mapped.flush()
            del mapped
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return result


def _reserve(file: BinaryIO, size: int, path: Path) -> None:
    """Makes a file of so many zeros, each with its place on the disk."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, _BLOCK):
                file.write(bytes(min(_BLOCK, size - start)))
            file.flush()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, {size:,} bytes are needed", str(path)) from error
