"""Which drawings look like an earlier one: by a small colour picture of each, however large its file was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_HASH_PX = 12
_NEAR = 0.3
_BLOCK = 512


def picture_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrinks a sheet to 12 x 12 colours: uint8 ``[432]``, 0 for white paper and 255 for full ink, channel by channel.

    Args:
        pixels: uint8 ``[h, w, 3]``, a drawing on white.
    """
    small = Image.fromarray(pixels).resize((_HASH_PX, _HASH_PX), Image.Resampling.BOX)
    return (255 - np.asarray(small)).reshape(-1)


def near_copies(hashes: Sequence[NDArray[np.uint8]]) -> dict[int, int]:
    """Finds what differs from an earlier drawing that stays by less than 30 % of the ink of the fainter of the two.

    Ink and difference are the Euclidean lengths of hashes and of their difference. All sums are of whole numbers, so
    that every machine finds the same.

    Args:
        hashes: Of `picture_hash`, in the order in which drawings are preferred.

    Returns:
        Position of each near copy, and of the earlier drawing it is nearest to.
    """
    if not len(hashes):
        return {}
    ink = np.stack(hashes).astype(np.float64)
    square = (ink * ink).sum(1)
    kept = np.zeros(len(ink), np.bool_)
    copies: dict[int, int] = {}
    for start in range(0, len(ink), _BLOCK):
        end = min(start + _BLOCK, len(ink))
        apart = square[start:end, None] + square[None, :end] - 2 * ink[start:end] @ ink[:end].T
        near = apart < _NEAR**2 * np.minimum(square[start:end, None], square[None, :end])
        for row in range(start, end):
            found = np.flatnonzero(near[row - start, :row] & kept[:row])
            if len(found):
                copies[row] = int(found[np.argmin(apart[row - start, found])])
            else:
                kept[row] = True
    return copies
