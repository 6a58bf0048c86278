"""Pictures as a camera stores them: a garment of the sample data in front of a background, at 12 megapixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 4032, 3024


def scene(garment: np.ndarray, rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A photo-like picture, RGB: background texture at several scales, an enlarged garment, a tinted light."""
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 27, 81, 243):
        grid = rng.normal(0, 20 / cells**0.5, (cells * 3 // 4 + 1, cells, 3)).clip(-128, 127) + 128
        layer = Image.fromarray(grid.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, np.float32) - 128
    picture += rng.uniform(5, 45, 3).astype(np.float32)
    side = int(height * rng.uniform(0.88, 1.0))
    enlarged = Image.fromarray(garment).resize((side, side), Image.Resampling.BICUBIC)
    cloth = np.asarray(enlarged, np.float32)[..., None]
    top = int(rng.integers(0, height - side + 1))
    left = int((width - side) / 2 + rng.uniform(-0.03, 0.03) * width)
    tint = rng.uniform(0.8, 1.0, 3).astype(np.float32)
    mask = np.clip(cloth / 64, 0, 1)
    part = picture[top : top + side, left : left + side]
    part[:] = part * (1 - mask) + cloth * tint * mask
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def photograph(garment: np.ndarray, rng: np.random.Generator, noise: np.ndarray) -> bytes:
    """A scene as a camera would store it: 12 megapixels, sensor noise, JPEG at quality 90."""
    small = scene(garment, rng, WIDTH // 4, HEIGHT // 4)
    large = np.array(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    large += np.roll(noise, int(rng.integers(HEIGHT)), axis=0)
    buffer = io.BytesIO()
    Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
