"""A file whose place on the disk is taken at once.

Whoever writes to a sparse file that is mapped into memory is killed where the disk is full; here that is an error.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20  # bytes


def reserve(path: Path, size: int) -> None:
    """Makes a new file of so many zeros, each with its place on the disk.

    Raises:
        OSError: There is such a file, the folder cannot be written, or the disk is full; then no file is left.
    """
    file = path.open("xb")
    try:
        with file:
            if not _allocated(file, size):
                for start in range(0, size, _BLOCK):
                    file.write(bytes(min(_BLOCK, size - start)))
    except OSError as error:
        path.unlink(missing_ok=True)
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
