"""The write lock of a gallery: one writer at a time; the others wait in the order in which they came.

The system frees the lock of a process that dies. It is a promise among writers and no more: the lock file may be
deleted, and some network file systems lock nothing. What keeps an acknowledged change even then is the commit, see
`compat_sdk.gallery.store.write_state`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from compat_sdk.errors import CompatError, GalleryLockedError
from compat_sdk.files.lock import open_locked

LOCK_FILE = "gallery.lock"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.002, 0.05


class _Line:
    """The threads of this process that want one lock, first come first served."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self.waiting: deque[object] = deque()


_lines: dict[str, _Line] = {}
_lines_guard = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lines.clear)  # the threads that stood in them are not in the child


@contextmanager
def write_lock(
    folder: Path, lock_file: str = LOCK_FILE, busy: str = "writing", timeout: float = 0.0
) -> Iterator[BinaryIO]:
    """Hold the gallery's write lock.

    Args:
        folder: The gallery's folder.
        lock_file: Another file in the folder to lock, for work that lets additions go on.
        busy: What the other process is doing to the gallery, for the error.
        timeout: Seconds to wait for other writers, at least 0.

    Raises:
        GalleryLockedError: Another writer held it all that time.
        CompatError: The folder cannot be written.
    """
    path, deadline, mine = folder / lock_file, time.monotonic() + timeout, object()
    with _lines_guard:
        line = _lines.setdefault(os.path.realpath(path), _Line())
    late = GalleryLockedError(
        f"another process is {busy} gallery {folder}; wait until it is done and try again"
        + (f" (waited {timeout:.3g} s)" if timeout else "")
    )
    with line.turn:
        line.waiting.append(mine)
        if not line.turn.wait_for(lambda: line.waiting[0] is mine, timeout):
            line.waiting.remove(mine)
            raise late
    try:
        with _open_in_time(path, folder, deadline, late) as file:
            yield file
    finally:
        with line.turn:
            line.waiting.remove(mine)
            line.turn.notify_all()


def _open_in_time(path: Path, folder: Path, deadline: float, late: GalleryLockedError) -> BinaryIO:
    wait = _FIRST_WAIT_S
    while True:
        try:
            file = open_locked(path)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()  # deleted, and perhaps made anew, between the two calls
            continue
        except BlockingIOError:
            pass
        except FileNotFoundError:
            if folder.is_dir():
                continue
            raise CompatError(
                f"cannot write to gallery {folder}: there is no such folder; nothing was changed"
            ) from None
        except OSError as error:
            raise CompatError(
                f"cannot write to gallery {folder}: {error.strerror or error}; nothing was changed"
            ) from error
        left = deadline - time.monotonic()
        if left <= 0:
            raise late
        time.sleep(min(wait, left))
        wait = min(2 * wait, _LONGEST_WAIT_S)
