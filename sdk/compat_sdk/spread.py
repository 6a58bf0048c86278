"""Some of many rows: evenly spread, and always the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` row numbers below ``count``, evenly spread from the first to the last.

    Args:
        count: Rows there are, at least 0.
        most: Rows wanted, at least 0.

    Returns:
        int64 ``[min(count, most)]``, rising; all rows where there are no more than ``most``.
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
