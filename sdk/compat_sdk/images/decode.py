"""Any image as 8-bit RGB, or one clear error.

Files are read by an allow-list of formats and within Pillow's limit against decompression bombs. Colour profiles
are not applied.
"""

from __future__ import annotations

import io
import os
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from compat_sdk.errors import ImageError

ImageLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]
"""A path, encoded bytes, a Pillow image, or uint8 ``[h, w]`` or ``[h, w, 1 | 3 | 4]`` (grey, RGB, RGBA)."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_PLUGINS = (TiffImagePlugin, WebPImagePlugin)  # Pillow loads only the other five before it must guess

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(image: ImageLike, at_least: int = 0) -> tuple[Image.Image, int]:
    """Return 8-bit RGB pixels that are not yet turned, and the EXIF orientation (1 to 8).

    Transparency is laid on white; 16-bit grey keeps its upper 8 bits; palettes, grey and CMYK are converted; of
    an animation the first frame counts.

    Args:
        image: Path, encoded bytes, Pillow image (not changed) or uint8 array (RGB order).
        at_least: A JPEG is decoded at the smallest DCT scale (1/8, 1/4, 1/2, 1) whose shorter side has this many
            pixels; 0 decodes in full.

    Raises:
        ImageError: It cannot be read, is of a format outside `FORMATS`, has more pixels than Pillow's limit
            against decompression bombs, or is an array of another type or shape.
    """
    source = _name(image)
    try:
        if isinstance(image, np.ndarray):
            return _to_rgb(_from_array(image)), 1
        if isinstance(image, Image.Image):
            return _to_rgb(image), _orientation(image)
        if not isinstance(image, str | os.PathLike | bytes):
            raise ImageError(source, "expected a path, bytes, a Pillow image or a uint8 array")
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=FORMATS) as opened:
            if at_least:
                opened.draft(None, (at_least, at_least))
            opened.load()
            return _to_rgb(opened), _orientation(opened)
    except ImageError as error:
        raise ImageError(source, error.reason) from None
    except UnidentifiedImageError as error:
        empty = isinstance(image, bytes) and not image
        raise ImageError(
            source, f"{'it is empty' if empty else 'not an image'}; expected {', '.join(FORMATS)}"
        ) from error
    except Exception as error:
        # Pillow raises whatever its parser met: OSError, SyntaxError, struct.error, zlib.error ...
        raise ImageError(source, str(error) or type(error).__name__) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.width == 0 or image.height == 0:
        raise ImageError("", f"it is empty ({image.width} x {image.height})")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError("", f"it has 32 bits per channel (mode {image.mode}); convert it to 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata beside good pixels: show the image as it lies, as viewers do
        return 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image turned and mirrored as its EXIF orientation says; other values than 2 to 8 change nothing."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    plain = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not plain or array.size == 0:
        raise ImageError("", f"{describe(array)}; expected uint8 of shape [h, w] or [h, w, 1|3|4] with values 0 to 255")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


def _name(image: object) -> str:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or "Pillow image")
    return "array" if isinstance(image, np.ndarray) else type(image).__name__


def describe(value: object) -> str:
    """Return what an error should say that a value is."""
    if isinstance(value, np.ndarray):
        return f"it is {value.dtype} of shape {list(value.shape)}"
    return f"it is a {type(value).__name__}"
