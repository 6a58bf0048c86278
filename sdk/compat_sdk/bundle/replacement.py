"""A bundle that another replaces while it is read: read again, so that no reader sees parts of both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from compat_sdk.bundle.folder import stepped_aside
from compat_sdk.errors import BundleError

_T = TypeVar("_T")
_ASIDE_S = 1.0
"""How long a reader waits for a folder that stepped aside: two renames take less than a thousandth of it."""


def while_unreplaced(path: str | os.PathLike[str], step: Callable[[], _T]) -> _T:
    """Read a bundle, and read it again where it failed because another took its place meanwhile.

    Args:
        path: The bundle.
        step: What reads it.

    Raises:
        BundleError: What ``step`` raised while the bundle stayed the same.
    """
    until = time.monotonic() + _ASIDE_S
    while True:
        before = _identity(path)
        try:
            return step()
        except BundleError as error:
            after = _identity(path)
            aside = None if after is not None else stepped_aside(Path(path))
            if after == before and aside is None:
                raise
            if aside is not None and time.monotonic() > until:
                raise BundleError(
                    f"{path} is missing, and {aside.name} beside it is the bundle that stood there before a "
                    f"replacement that did not end; rename it back"
                ) from error
        time.sleep(0.002)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
