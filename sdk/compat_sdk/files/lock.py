"""A file that one process at a time may hold; the system frees it when that process dies."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from compat_sdk.files.plain import open_to_append


def open_locked(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file, made if need be, that one process at a time may hold; closing it, or dying, lets it go.

    Raises:
        BlockingIOError: Another process holds it.
        CorruptFileError: It is a pipe, a device or a socket.
        OSError: It cannot be opened for writing.
    """
    file = open_to_append(path)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(f"another process holds {path}") from error
    return file
