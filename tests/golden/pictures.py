"""Draws the golden pictures that every bundle of images carries, and writes them into compat_export.

    python -m tests.golden.pictures

Run once; the files are committed, since another release of an image library encodes the same pixels otherwise. The
pictures are photograph-like and of no one's making but this script's. Together they show each step from a file's bytes
to a model's input: colour, both fits, what a kernel does to edges, orientation, transparency, grey, and at which scale
a JPEG is decoded. For the last their shorter sides lie a factor of about 1.4 apart, so that a changed scale changes one
of them, for models of 16 to 256 pixels.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_train.data.golden_pictures import PICTURES

Pixels = NDArray[np.float64]


def drawn() -> dict[str, Image.Image]:
    """The pictures by file name, as they are before they are encoded; 01.jpg lies on its side."""
    return {
        "00.jpg": _picture(_scene(1600, 1200, seed=1, shapes=2, rings=0.06)),
        "01.jpg": _picture(_scene(1120, 840, seed=2, shapes=3, rings=0.06)),
        "02.jpg": _picture(_scene(560, 700, seed=3, shapes=3, rings=0.1)).convert("L"),
        "03.jpg": _picture(_scene(500, 380, seed=4, shapes=5, rings=0.14)),
        "04.jpg": _picture(_scene(240, 240, seed=5, shapes=6, rings=0.18, noise=2.0)),
        "05.png": _cut_out(_scene(120, 170, seed=6, shapes=7, rings=0.2)),
        "06.png": _picture(_lines(96, 64)),
        "07.png": _picture(np.random.default_rng(8).integers(0, 2, (17, 23, 3)) * 255.0),
    }


def encoded() -> dict[str, bytes]:
    """The pictures by file name, each as the file that it is."""
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter: the picture is a portrait
    how = {
        "00.jpg": {"quality": 16, "subsampling": "4:2:0", "progressive": True},
        "01.jpg": {"quality": 20, "subsampling": "4:2:0", "exif": turned},
        "02.jpg": {"quality": 40},
        "03.jpg": {"quality": 34, "subsampling": "4:2:0"},
        "04.jpg": {"quality": 60, "subsampling": "4:4:4"},
    }
    found = {}
    for name, picture in drawn().items():
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG" if name in how else "PNG", optimize=True, **how.get(name, {}))
        found[name] = buffer.getvalue()
    return found


def main() -> None:
    """Write the files."""
    for name, content in encoded().items():
        (PICTURES / name).write_bytes(content)


def _scene(width: int, height: int, *, seed: int, shapes: int, rings: float, noise: float = 0.0) -> Pixels:
    """Slow gradients, before them discs and bars of strong colour with sharp edges, over all some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / min(width, height)
    wide, high = width / min(width, height), height / min(width, height)
    scene = np.empty((height, width, 3))
    for channel in range(3):
        across, down, phase = random.uniform(-1, 1, 3)
        scene[..., channel] = 128 + 80 * np.sin(2.5 * (across * x + down * y) + 6 * phase)
    for shape in range(shapes):
        left, top, radius, turn = random.uniform((0, 0, 0.08, 0), (wide, high, 0.25, np.pi))
        colour = random.permuted([0.0, 60.0, 255.0])
        along = (x - left) * np.cos(turn) + (y - top) * np.sin(turn)
        off = (y - top) * np.cos(turn) - (x - left) * np.sin(turn)
        disc = along**2 + off**2 < radius**2
        bar = (abs(along) < 2 * radius) & (abs(off) < radius / 8)
        scene[disc if shape % 2 else bar] = colour
    # Rings from broad to as fine as pixels: whatever the scale, some of them are what a changed kernel blurs.
    left, top = wide / 2 + 0.08, high / 2
    square = (x - left) ** 2 + (y - top) ** 2
    near = square < rings**2
    finest = np.pi * min(width, height) / (4 * rings)
    scene[near] = (255.0 * (np.sin(finest * square) > 0))[near][:, None]
    return scene + random.normal(0, noise, scene.shape) if noise else scene


def _lines(width: int, height: int) -> Pixels:
    """Stripes of one pixel and of ever finer pitch, in colours that differ most: what a kernel must get right."""
    y, x = np.mgrid[0:height, 0:width]
    rings = np.sin((x - 30) ** 2 / 90 + (y - 20) ** 2 / 60) > 0
    stripes = (x + y) % 2 == 0
    right = x > 2 * width // 3
    return np.stack([rings * 255, np.where(right, stripes * 255, 255 - rings * 200), (y % 16 < 3) * 240], 2) + 0.0


def _cut_out(scene: Pixels) -> Image.Image:
    """Few colours, and transparent outside of an ellipse."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    outside = ((x - width / 2) / width) ** 2 + ((y - height / 2) / height) ** 2 > 0.16
    picture = _picture(scene).quantize(31, dither=Image.Dither.NONE)
    codes = np.asarray(picture).copy()
    codes[outside] = 31
    made = Image.fromarray(codes, "P")
    made.putpalette([*picture.getpalette()[:93], 0, 0, 0])
    made.info["transparency"] = 31
    return made


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
