"""How one character of one typeface becomes a 32x32 grey image, and when two faces are the same design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from compat_sdk.errors import DataError

_DRAW_PX = 72
TILE_PX = 32
_INK_PX = 28
# A code point that Unicode reserves as "not a character": every font answers it with its .notdef glyph.
_NOT_A_CHARACTER = "\U0010ffff"


def jis_level_1() -> tuple[str, ...]:
    """Returns the 2,965 kanji of JIS X 0208 level 1 (rows 16 to 47), in the order of the standard."""
    last_row_cells = 51  # row 47 is not full
    return tuple(
        bytes([row + 0xA0, cell + 0xA0]).decode("euc_jp")
        for row in range(16, 48)
        for cell in range(1, (last_row_cells if row == 47 else 94) + 1)
    )


def fit_ink(drawn: Image.Image) -> NDArray[np.uint8]:
    """Crops a drawing to its ink and centres it on a square tile.

    Args:
        drawn: Grey (``L``) image, ink bright on black.

    Returns:
        ``[32, 32]``, the longer side of the ink 28 px long; all zero when there is no ink.
    """
    tile = Image.new("L", (TILE_PX, TILE_PX))
    box = drawn.getbbox()
    if box is not None:
        ink = drawn.crop(box)
        scale = _INK_PX / max(ink.size)
        size = (max(1, round(ink.width * scale)), max(1, round(ink.height * scale)))
        ink = ink.resize(size, Image.Resampling.BICUBIC)
        tile.paste(ink, ((TILE_PX - size[0]) // 2, (TILE_PX - size[1]) // 2))
    return np.asarray(tile)


def _draw_text(font: ImageFont.FreeTypeFont, text: str) -> Image.Image:
    """Draws text in white on a black canvas with room for ink that leaves the em square."""
    canvas = Image.new("L", (2 * _DRAW_PX, 2 * _DRAW_PX))
    ImageDraw.Draw(canvas).text((_DRAW_PX // 2, _DRAW_PX // 2), text, font=font, fill=255)
    return canvas


def render_face(path: Path, characters: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draws every character in one typeface.

    Args:
        path: Font file; the first face of a collection is used.
        characters: What to draw, one character each.

    Returns:
        Tiles ``[n, 32, 32]``, ink bright on black, and ``[n]`` whether the face has that character: a
        blank drawing, or one equal to the face's glyph for "no such character", counts as missing.

    Raises:
        DataError: The file is not a font that FreeType reads.
    """
    try:
        # The basic layout engine: no shaping library, hence the same pixels on every machine.
        font = ImageFont.truetype(str(path), _DRAW_PX, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(f"cannot read font {path}: {error}; reinstall the package that brings it") from error
    not_there = _draw_text(font, _NOT_A_CHARACTER)
    tiles = np.zeros((len(characters), TILE_PX, TILE_PX), np.uint8)
    present = np.zeros(len(characters), np.bool_)
    for row, character in enumerate(characters):
        drawn = _draw_text(font, character)
        if drawn.getbbox() is None or drawn == not_there:
            continue
        tiles[row] = fit_ink(drawn)
        present[row] = True
    return tiles, present


def face_similarity(tiles: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Returns the mean correlation of two faces' drawings of the same characters.

    Args:
        tiles: ``[n, h, w]`` of one face.
        other: ``[n, h, w]`` of the other face, the same characters in the same order.

    Returns:
        In ``[-1, 1]``: 1 for equal outlines, above 0.95 only for faces of one design.
    """
    a = tiles.reshape(len(tiles), -1).astype(np.float64)
    b = other.reshape(len(other), -1).astype(np.float64)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(norms, 1e-12)))
