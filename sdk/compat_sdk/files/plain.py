"""Plain files opened and read: what would block, never end or fill the memory is refused at once."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from compat_sdk.errors import CorruptFileError

LARGEST = 1 << 26  # bytes of a file that is read as a whole to be parsed


def read_plain(path: str | os.PathLike[str], most: int = LARGEST) -> bytes:
    """Return the content of a plain file; what would block, never end or fill the memory is refused at once.

    Args:
        path: The file; a link to one will do.
        most: Bytes that it may have.

    Raises:
        CorruptFileError: It is a pipe, a device or a socket, or larger than that.
        OSError: It cannot be opened or read; EISDIR for a folder.
    """
    with open_plain(path) as file:
        # A reader makes room for all that it is asked for: no more than the file has, and one to see that it grew.
        data = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > most:
        raise CorruptFileError(f"{os.fspath(path)} has more than {most} bytes, more than such a file has; check it")
    return data


def open_plain(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a plain file for reading; a pipe in its place would block whoever opens it, and is refused instead.

    Raises:
        CorruptFileError: It is a pipe, a device or a socket.
        OSError: It cannot be opened; EISDIR for a folder.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=without_waiting)
    _require_plain(file, path)
    return file


def open_to_append(path: str | os.PathLike[str]) -> io.BufferedWriter:
    """Open a plain file, made if need be, to write at its end: no pipe, whose writer would wait, and no link.

    Raises:
        CorruptFileError: It is a pipe, a device or a socket.
        OSError: It cannot be opened; EISDIR for a folder, ELOOP for a link.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0), 0o666)

    try:
        file = open(path, "ab", opener=without_waiting)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what Linux says of a pipe that nobody reads, and of a socket
            raise _no_plain_file(path) from error
        raise
    _require_plain(file, path)
    return file


def _require_plain(file: io.BufferedReader | io.BufferedWriter, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _no_plain_file(path)


def _no_plain_file(path: str | os.PathLike[str]) -> CorruptFileError:
    return CorruptFileError(f"{os.fspath(path)} is a pipe or a device; expected a plain file")


def read_chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next ``size`` bytes of an open file in parts of at most 1 MiB; fewer bytes where the file ends.

    Whoever reads by this never holds more than a header announced, whatever the file has grown to meanwhile.
    """
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        size -= len(chunk)
        yield chunk
