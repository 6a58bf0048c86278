"""What native code writes on standard error by itself, such as an engine about its threads, kept back."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from compat_sdk.errors import CompatError

_HELD = 1 << 16  # bytes of native output that are shown after an error


@contextlib.contextmanager
def native_code_held() -> Iterator[None]:
    """Python's own stderr stays as it is; what others write to the file descriptor waits until the block ends.

    It is shown where the block ends by an error that is not one of ours. Where there is no place to keep it, as in a
    container that can only be read, it is shown at once.
    """
    try:
        kept = os.dup(2)
    except OSError:  # a process may have none
        yield
        return
    before, opened = sys.stderr, None
    with contextlib.ExitStack() as closing:
        try:
            held = closing.enter_context(_room())
        except OSError:  # no place to write at all, as in a container that can only be read
            os.close(kept)
            yield
            return
        before.flush()
        with contextlib.suppress(OSError, ValueError):  # a test's stderr is no file
            if before.fileno() == 2:
                opened = os.fdopen(os.dup(2), "w", buffering=1, encoding=before.encoding, errors=before.errors)
                sys.stderr = opened
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (CompatError, KeyboardInterrupt):
            raise
        except BaseException:
            held.seek(max(0, held.seek(0, os.SEEK_END) - _HELD))
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr = before
            if opened is not None:
                opened.close()
            os.dup2(kept, 2)
            os.close(kept)


def _room() -> BinaryIO:
    """A file without a name: in memory where the system has such files, since a disk may be full or read-only."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
