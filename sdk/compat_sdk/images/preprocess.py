"""From an image of any kind to the numbers that a model was trained on.

How an image is decoded, cropped and resized is part of the model: a resize kernel that does not antialias
moves pixels by 14 grey levels on a 12-megapixel photo and moves the embedding with them. So one frozen
`Preprocessing` travels inside every checkpoint and bundle, and training and device run this same code.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.errors import ImageError, SystemRefusedError
from compat_sdk.images.decode import FORMATS, ImageLike, describe, load_image, turn_upright
from compat_sdk.images.preprocessing import Preprocessing
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
    loaded, orientation = load_image(image, 0 if preprocessing is None else at_least(preprocessing))
    return turn_upright(loaded.copy() if loaded is image else loaded, orientation)


def at_least(preprocessing: Preprocessing) -> int:
    """The shorter side, in pixels, below which no JPEG is decoded: ``draft`` times what becomes ``size``."""
    return math.ceil(preprocessing.draft * preprocessing.size / preprocessing.crop)


def to_pixels(image: ImageLike, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return an image as the pixels that a model sees: uint8 ``[size, size, 3]``, RGB, upright.

    An array that already has this shape is returned as it is.

    Raises:
        ImageError: The picture cannot be decoded, is too large, or is not of a known kind.
    """
    size = preprocessing.size
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == (size, size, 3):
        return image
    loaded, orientation = load_image(image, at_least(preprocessing))
    width, height = loaded.size
    kept_width, kept_height = width * preprocessing.crop, height * preprocessing.crop
    if preprocessing.fit == "crop":
        kept_width = kept_height = min(kept_width, kept_height)
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    kernel = Image.Resampling[preprocessing.resize.upper()]
    # Rows, then columns. Of a tall picture Pillow 13 takes the columns first, Pillow 11 the rows, and the order shows.
    rows = loaded.resize((size, height), kernel, box=(left, 0, left + kept_width, height))
    square = rows.resize((size, size), kernel, box=(0, top, size, top + kept_height))
    # Turning the small square instead of the whole photo: both fits are symmetric, so the order is free.
    return np.array(turn_upright(square, orientation))


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


def decode_readable(
    images: Sequence[ImageLike], preprocessing: Preprocessing, threads: int | None = None
) -> tuple[NDArray[np.uint8], list[int], list[ImageError]]:
    """Decode what can be read, each image once.

    Args:
        images: Images in any mixture of kinds.
        preprocessing: What is done to each.
        threads: Threads that decode; None takes one per usable core.

    Returns:
        uint8 ``[n, size, size, 3]`` of those that can be read, their positions, and the errors of the others, among
        them files that this user may not read.

    Raises:
        SystemRefusedError: The system refuses whatever is asked of it, such as one more open file.
    """

    def decode(position: int) -> NDArray[np.uint8] | ImageError:
        try:
            return pixels_at(images, position, preprocessing)
        except ImageError as error:
            return error
        except SystemRefusedError as error:
            if error.errno not in (errno.EACCES, errno.EPERM):  # what is refused to every file alike
                raise
            return ImageError(f"{error.path} (position {position})", str(error))

    with ThreadPoolExecutor(usable_cores() if threads is None else max(1, threads), "compat-decode") as pool:
        decoded = list(pool.map(decode, range(len(images))))
    read = {place: found for place, found in enumerate(decoded) if not isinstance(found, ImageError)}
    size = preprocessing.size
    pixels = np.empty((len(read), size, size, 3), np.uint8)
    for row, image in enumerate(read.values()):
        pixels[row] = image
    return pixels, list(read), [found for found in decoded if isinstance(found, ImageError)]


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
