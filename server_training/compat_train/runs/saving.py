"""What a full disk means for a training or a search: an error that says where, and what stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compat_sdk.errors import TrainingError


@contextmanager
def saving(place: Path) -> Iterator[None]:
    """Says of a write that the system refused what to do about it.

    Args:
        place: The file or folder that is written.

    Raises:
        TrainingError: The disk is full, a quota is used up, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"cannot write to {place}: {error.strerror or error}; what was saved before stays: make room or set "
            f"permissions, and repeat the command"
        ) from error
