"""How a drawing of any size becomes a square sheet of white paper, and which drawings are too little for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from compat_sdk.errors import ImageError
from compat_sdk.images import image_size, open_image

SHEET_PX = 256
_DRAWN_PX = 232  # the longer side of the drawing on its sheet
_LEAST_SIDE = 90  # pixels of the shorter side of a file
_MOST_PIXELS = 24_000_000
_LONGEST = 4.0  # longer side of the ink over the shorter
_LEAST_COLOURS = 8
_COLOUR_SHARE = 0.002  # part of the ink that a colour has to cover to count
_WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A drawing that is fit for the set, or why it is not.

    Attributes:
        pixels: uint8 ``[256, 256, 3]``, the drawing in the middle of white paper; None where it is left out.
        left_out: ``unreadable``, ``small``, ``huge``, ``empty``, ``long`` or ``few colours``; empty where it is fit.
    """

    pixels: NDArray[np.uint8] | None
    left_out: str = ""


def read_sheet(path: Path) -> Sheet:
    """Lays a drawing on white paper: cropped to its ink, the longer side 232 of the sheet's 256 pixels.

    Icons are left out: a shorter side below 90 pixels, or fewer than eight colours that cover a 500th of the ink each.
    So is what is empty, more than four times longer than wide, above 24 million pixels, or cannot be read.
    """
    try:
        width, height = image_size(path)
        if min(width, height) < _LEAST_SIDE:
            return Sheet(None, "small")
        if width * height > _MOST_PIXELS:
            return Sheet(None, "huge")
        drawn = open_image(path)
    except ImageError:
        return Sheet(None, "unreadable")
    box = ImageChops.difference(drawn, Image.new("RGB", drawn.size, _WHITE)).getbbox()
    if box is None:
        return Sheet(None, "empty")
    ink = drawn.crop(box)
    if max(ink.size) > _LONGEST * min(ink.size):
        return Sheet(None, "long")
    scale = _DRAWN_PX / max(ink.size)
    size = (max(1, round(ink.width * scale)), max(1, round(ink.height * scale)))
    sheet = Image.new("RGB", (SHEET_PX, SHEET_PX), _WHITE)
    place = ((SHEET_PX - size[0]) // 2, (SHEET_PX - size[1]) // 2)
    sheet.paste(ink.resize(size, Image.Resampling.LANCZOS), place)
    pixels = np.array(sheet)
    return Sheet(pixels) if colours(pixels) >= _LEAST_COLOURS else Sheet(None, "few colours")


def colours(pixels: NDArray[np.uint8]) -> int:
    """Counts the colours of the ink, of eight steps per channel, that cover at least a 500th of it each.

    Args:
        pixels: uint8 ``[h, w, 3]``. White paper is no ink.
    """
    steps = (pixels >> 5).reshape(-1, 3).astype(np.int64)
    found = np.bincount(steps @ (64, 8, 1), minlength=512)[:-1]  # the last is white
    return int(np.count_nonzero(found >= max(1.0, _COLOUR_SHARE * found.sum())))
