"""From an image of any kind to the numbers that a model was trained on.

How an image is decoded, cropped and resized is part of the model: a resize kernel that does not antialias
moves pixels by 14 grey levels on a 12-megapixel photo and moves the embedding with them. So one frozen
`Preprocessing` travels inside every checkpoint and bundle, and training and device run this same code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.errors import ConfigError, ImageError
from compat_sdk.images.decode import FORMATS, ImageLike, describe, load_image, turn_upright
from compat_sdk.workers import usable_cores

__all__ = [
    "FORMATS",
    "ImageLike",
    "Preprocessing",
    "decode_many",
    "is_pixels",
    "open_image",
    "pixels_at",
    "to_input",
    "to_pixels",
]

Fit = Literal["crop", "stretch"]
Resize = Literal["bilinear", "bicubic", "lanczos", "box"]
Channels = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a model sees it.

    Attributes:
        size: Side of the square input, in pixels, 1 to 4096.
        fit: ``"crop"`` takes the central square and keeps proportions; ``"stretch"`` takes the whole image.
        resize: Pillow's antialiased kernel of this name.
        draft: JPEGs are decoded at the smallest DCT scale (1/8, 1/4, 1/2, 1) whose shorter side stays at or
            above ``draft * size``; 0 decodes in full. 0 to 64.
        mean: Subtracted per channel (R, G, B), in units of the full range 0..1.
        std: Divisor per channel (R, G, B), in units of the full range, above 0.
        channels: Order of the three channels in the model's input.

    Raises:
        ConfigError: A value is out of its range.
    """

    size: int
    fit: Fit = "crop"
    resize: Resize = "bicubic"
    draft: int = 2
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    channels: Channels = "rgb"

    def __post_init__(self) -> None:
        _check_integer("size", self.size, 1, 4096)
        _check_integer("draft", self.draft, 0, 64)
        _check_choice("fit", self.fit, get_args(Fit))
        _check_choice("resize", self.resize, get_args(Resize))
        _check_choice("channels", self.channels, get_args(Channels))
        object.__setattr__(self, "mean", _three("mean", self.mean))
        object.__setattr__(self, "std", _three("std", self.std))
        if min(self.std) <= 0:
            raise ConfigError(f"preprocessing std is {list(self.std)}; expected three numbers above 0")

    def inside_graph(self) -> Preprocessing:
        """Return what is left to do for a graph that has mean, deviation and channel order inside: sizes alone.

        Its mean 0 and deviation 1/255 leave the values of 8-bit RGB as they are.
        """
        return dataclasses.replace(self, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255), channels="rgb")

    @property
    def scale(self) -> tuple[float, ...]:
        """Factor of each channel of the input, in its order: input = pixel * scale + offset, pixel in [0, 255]."""
        return tuple(1 / (255 * std) for std in self._in_order(self.std))

    @property
    def offset(self) -> tuple[float, ...]:
        """What is added to each channel of the input, in its order, see `scale`."""
        return tuple(
            0.0 - mean / std for mean, std in zip(self._in_order(self.mean), self._in_order(self.std), strict=True)
        )

    def _in_order(self, values: tuple[float, float, float]) -> tuple[float, ...]:
        return values if self.channels == "rgb" else values[::-1]

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values; `from_json` reads them back to an equal object."""
        found = dataclasses.asdict(self)
        return found | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Preprocessing:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: A field is missing, unknown, of the wrong type or out of its range.
        """
        expected = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, Mapping) or set(value) != expected:
            found = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise ConfigError(f"preprocessing has the fields {found}; expected exactly {sorted(expected)}")
        return cls(**value)  # type: ignore[arg-type]  # every field is checked on construction


def open_image(image: ImageLike, preprocessing: Preprocessing | None = None) -> Image.Image:
    """Return an image as upright 8-bit RGB, whatever it came as.

    EXIF orientation is applied; transparency is laid on white; 16-bit grey keeps its upper 8 bits; palettes,
    grey and CMYK are converted; of an animation the first frame counts. Colour profiles are not applied.

    Args:
        image: Path, encoded bytes, Pillow image (not changed) or uint8 array (RGB order).
        preprocessing: Lets a JPEG be decoded at a fraction of its size; None decodes in full.

    Raises:
        ImageError: It cannot be read, is of a format outside `FORMATS`, has more pixels than Pillow's
            decompression-bomb limit, or is an array of another type or shape.
    """
    at_least = 0 if preprocessing is None else preprocessing.draft * preprocessing.size
    loaded, orientation = load_image(image, at_least)
    return turn_upright(loaded.copy() if loaded is image else loaded, orientation)


def to_pixels(image: ImageLike, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return an image as the pixels that a model sees: uint8 ``[size, size, 3]``, RGB, upright.

    An array that already has this shape is returned as it is.

    Raises:
        ImageError: See `open_image`.
    """
    size = preprocessing.size
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == (size, size, 3):
        return image
    loaded, orientation = load_image(image, preprocessing.draft * size)
    width, height = loaded.size
    box = None
    if preprocessing.fit == "crop" and width != height:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    kernel = Image.Resampling[preprocessing.resize.upper()]
    # Turning the small square instead of the whole photo: both fits are symmetric, so the order is free.
    return np.array(turn_upright(loaded.resize((size, size), kernel, box=box), orientation))


def to_input(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return pixels as a model's input: float32 ``[n, 3, size, size]``, ``(pixel / 255 - mean) / std``.

    Where mean 0 and deviation 1/255 leave them as they are, the result is whole numbers, free of rounding.

    Args:
        pixels: uint8 ``[n, size, size, 3]``, RGB.
        preprocessing: Gives the size, mean, std and the order of the channels in the result.

    Raises:
        ImageError: ``pixels`` has another type or shape.
    """
    size = preprocessing.size
    if not is_pixels(pixels, size):
        raise ImageError("pixels", f"{describe(pixels)}; expected uint8 of shape [n, {size}, {size}, 3]")
    order = slice(None) if preprocessing.channels == "rgb" else slice(None, None, -1)
    mean = np.array(preprocessing.mean[order], np.float32).reshape(3, 1, 1)
    std = np.array(preprocessing.std[order], np.float32).reshape(3, 1, 1)
    unchanged = preprocessing == preprocessing.inside_graph()
    result = np.empty((len(pixels), 3, size, size), np.float32)
    for row, image in zip(result, pixels, strict=True):  # one image at a time stays in the processor's cache
        np.copyto(row, image[..., order].transpose(2, 0, 1))
        if unchanged:
            continue
        row /= np.float32(255)
        row -= mean
        row /= std
    return result


def decode_many(
    images: Sequence[ImageLike] | NDArray[np.uint8], preprocessing: Preprocessing, threads: int | None = None
) -> NDArray[np.uint8]:
    """Return many images as pixels, uint8 ``[n, size, size, 3]``, decoded by several threads.

    Args:
        images: Images in any mixture of kinds, or one uint8 array ``[n, h, w]`` or ``[n, h, w, 3]``.
        preprocessing: What is done to each.
        threads: Threads that decode; None takes one per usable core.

    Raises:
        ImageError: The first image that cannot be read; its ``source`` gives the position and the path.
    """
    size = preprocessing.size
    if is_pixels(images, size):
        return np.ascontiguousarray(images)
    result = np.empty((len(images), size, size, 3), np.uint8)

    def decode(position: int) -> None:
        result[position] = pixels_at(images, position, preprocessing)

    workers = min(usable_cores() if threads is None else max(1, threads), len(images))
    if workers < 2:
        for position in range(len(images)):
            decode(position)
        return result
    with ThreadPoolExecutor(workers, "compat-decode") as pool:
        for done in [pool.submit(decode, position) for position in range(len(images))]:
            try:
                done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return result


def is_pixels(value: object, size: int) -> TypeGuard[NDArray[np.uint8]]:
    """Say whether ``value`` is already uint8 ``[n, size, size, 3]``."""
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape[1:] == (size, size, 3)


def pixels_at(
    images: Sequence[ImageLike] | NDArray[np.uint8], position: int, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """Return one image of many as pixels, see `to_pixels`; an error names its position."""
    try:
        return to_pixels(images[position], preprocessing)
    except ImageError as error:
        raise ImageError(f"{error.source} (position {position})", error.reason) from error


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"preprocessing {name} is {value!r}; expected an integer from {low} to {high}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"preprocessing {name} is {value!r}; expected one of {', '.join(choices)}")


def _three(name: str, value: object) -> tuple[float, float, float]:
    if (
        not isinstance(value, Sequence)
        or len(value) != 3
        or not all(isinstance(v, int | float) and math.isfinite(v) for v in value)
    ):
        raise ConfigError(f"preprocessing {name} is {value!r}; expected three finite numbers")
    return float(value[0]), float(value[1]), float(value[2])
