"""Which pictures look like an earlier one: by a small colour picture of each, however large its file is.

A picture that was saved again, shrunk or slightly cropped is a near copy: its bytes differ, and a search that finds it
has proven nothing. Of Debian's tuxpaint-stamps, saved again at JPEG quality 60, 99 of 100 lie within 0.1 of themselves,
and none of 300 within 0.3 of another; of the bundled garments, 2 of 100 queries lie within 0.15 of a training image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.errors import ImageError
from compat_sdk.images import PictureFile, Preprocessing, open_image
from compat_sdk.workers import usable_cores

_NEAR = 0.15
"""Largest difference of two photographs that are one picture, as a part of the contrast of the fainter."""
_HASH_PX = 12
_NUMBERS = 3 * _HASH_PX**2
_BLOCK = 512
_ENOUGH = Preprocessing(size=96)
"""What a large JPEG is decoded for."""


def ink_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrinks a sheet to 12 x 12 colours: uint8 ``[432]``, 0 for white paper and 255 for full ink, channel by channel.

    Args:
        pixels: uint8 ``[h, w, 3]``, a drawing on white.
    """
    return (255 - _small(Image.fromarray(pixels))).reshape(-1)


def _contrast_hash(image: Image.Image) -> NDArray[np.int64]:
    """Shrinks a picture of any sides to 12 x 12 colours, less their mean: int64 ``[432]``, in 432nds of a grey level.

    The difference of two is the same when both are brighter by as much.
    """
    small = _small(image.convert("RGB")).reshape(-1).astype(np.int64)
    contrast: NDArray[np.int64] = _NUMBERS * small - small.sum()
    return contrast


def contrast_hashes(images: Sequence[PictureFile] | NDArray[np.uint8]) -> tuple[list[int], list[NDArray[np.int64]]]:
    """12 x 12 colours of every picture that can be read, less their mean; by several threads.

    Returns:
        Positions of the pictures that can be read, rising, and their hashes.

    Raises:
        SystemRefusedError: The system refused to read a picture, so that nobody knows what it is.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = dict(enumerate(pool.map(_read, images)))
    return [row for row, each in found.items() if each is not None], [
        each for each in found.values() if each is not None
    ]


def near_copies(hashes: Sequence[NDArray[np.integer]], limit: float = _NEAR) -> dict[int, int]:
    """Finds what differs from an earlier picture that stays by less than a part of the fainter of the two.

    Faintness and difference are the Euclidean lengths of hashes and of their difference. All sums are of whole numbers,
    so that every machine finds the same. A hash of nothing but zeros, such as that of one colour, is near no other.

    Args:
        hashes: Of `ink_hash` or of `contrast_hashes`, in the order in which pictures are preferred.
        limit: The part, in (0, 1).

    Returns:
        Position of each near copy, and of the earlier picture it is nearest to.
    """
    kept = np.zeros(len(hashes), np.bool_)
    copies: dict[int, int] = {}
    for start, near, apart in _blocks(hashes, limit):
        for row in range(start, start + len(near)):
            found = np.flatnonzero(near[row - start, :row] & kept[:row])
            if len(found):
                copies[row] = int(found[np.argmin(apart[row - start, found])])
            else:
                kept[row] = True
    return copies


def near_in_other_groups(
    hashes: Sequence[NDArray[np.integer]], groups: Sequence[int], limit: float = _NEAR
) -> dict[int, int]:
    """Finds what is near an earlier picture of another group, such as another split.

    Args:
        hashes: As for `near_copies`.
        groups: Number of each picture's group.
        limit: As for `near_copies`.

    Returns:
        Position of each such picture, and of the earlier one of another group it is nearest to.
    """
    group = np.asarray(groups)
    found: dict[int, int] = {}
    for start, near, apart in _blocks(hashes, limit):
        for row in range(start, start + len(near)):
            others = np.flatnonzero(near[row - start, :row] & (group[:row] != group[row]))
            if len(others):
                found[row] = int(others[np.argmin(apart[row - start, others])])
    return found


def _blocks(
    hashes: Sequence[NDArray[np.integer]], limit: float
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.float64]]]:
    """First row of a block, which of all rows up to its end each of its rows is near, and their squared differences."""
    if not len(hashes):
        return
    rows = np.stack(hashes).astype(np.float64)
    square = (rows * rows).sum(1)
    for start in range(0, len(rows), _BLOCK):
        end = min(start + _BLOCK, len(rows))
        apart = square[start:end, None] + square[None, :end] - 2 * rows[start:end] @ rows[:end].T
        yield start, apart < limit**2 * np.minimum(square[start:end, None], square[None, :end]), apart


def _small(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((_HASH_PX, _HASH_PX), Image.Resampling.BOX))


def _read(image: PictureFile | NDArray[np.uint8]) -> NDArray[np.int64] | None:
    try:
        return _contrast_hash(open_image(image, _ENOUGH))
    except ImageError:  # whoever decodes it says so
        return None
