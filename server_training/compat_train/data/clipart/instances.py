"""Instances of a drawing, as a camera might bring them: turned, seen from aside, cropped, under coloured light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TURN = 12.0  # degrees
_ASIDE = 0.06  # a corner's way, of the side
_LEAST_KEPT = 0.7  # of the side
_CAST = 0.25  # of a channel's light
_WHITE = (255, 255, 255)


def instance(pixels: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Draws one instance of a sheet; the same generator gives the same one.

    A square of 70 to 100 % of the side is cut out, anywhere on the sheet, turned by at most 12 degrees, and its corners
    move by at most 6 % of its side. Each channel's light changes by at most a quarter. Beyond the sheet is white.

    Args:
        pixels: uint8 ``[side, side, 3]``.
        draws: Where the changes come from.

    Returns:
        uint8 ``[side, side, 3]``.
    """
    side = len(pixels)
    kept = side * draws.uniform(_LEAST_KEPT, 1.0)
    middle = side / 2 + draws.uniform(-0.5, 0.5, 2) * (side - kept)
    angle = np.deg2rad(draws.uniform(-_TURN, _TURN))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    corners = middle + kept * (square + draws.uniform(-_ASIDE, _ASIDE, (4, 2))) @ turn.T
    whole = (square + 0.5) * side
    seen = Image.fromarray(pixels).transform(
        (side, side),
        Image.Transform.PERSPECTIVE,
        homography(whole, corners).tolist(),
        Image.Resampling.BICUBIC,
        fillcolor=_WHITE,
    )
    light = draws.uniform(1 - _CAST, 1 + _CAST, 3)
    return np.clip(np.rint(np.asarray(seen) * light), 0, 255).astype(np.uint8)


def homography(of: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """Finds ``a..h`` for which ``((ax + by + c) / w, (dx + ey + f) / w)`` maps four points to four; w is gx + hy + 1.

    Args:
        of: ``[4, 2]``, no three on a line.
        to: ``[4, 2]``.

    Returns:
        float64 ``[8]``.
    """
    rows = []
    for (x, y), (u, v) in zip(of, to, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return np.linalg.solve(np.array(rows, np.float64), to.reshape(-1)).astype(np.float64)
