"""Any image as 8-bit RGB, or one clear error.

Files are read by an allow-list of formats and within a limit of pixels in memory. A large JPEG is decoded at a fraction
of its size, and it is that fraction which the limit counts. Colour profiles are not applied.
"""

from __future__ import annotations

import errno
import io
import os
import struct
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from compat_sdk.errors import CompatError, ConfigError, ImageError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images.packed import CroppedPicture, PackedPicture, WarpedPicture
from compat_sdk.install import install_command

ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | PackedPicture | CroppedPicture | WarpedPicture
)
"""A path, a part of a file or of a picture, encoded bytes, a Pillow image, or uint8 ``[h, w]`` or
``[h, w, 1 | 3 | 4]``: grey, RGB or RGBA."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Formats that are read. HEIF (the .heic files of phones) is one more where the extra ``heif`` is installed."""
MOST_PIXELS = 178_956_970
"""Pixels that may be in memory at once, 3 or 4 bytes each; Pillow's own limit. `limit_pixels` sets a lower one."""
_PLUGINS = (TiffImagePlugin, WebPImagePlugin, AvifImagePlugin)  # Pillow loads only the other five before it must guess
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
_OTHERS = {
    b"%PDF": "PDF",
    b"\x1aE\xdf\xa3": "a Matroska video",
    b"8BPS": "a Photoshop file",
    b"\x00\x00\x00\x0cJXL": "JPEG XL",
}
_ANCILLARY = (b"zTXt", b"iTXt", b"tEXt", b"iCCP")
_most_pixels = MOST_PIXELS

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
        ImageError: It cannot be read, is of a format outside `FORMATS`, has more pixels than the limit, or is an
            array of another type or shape.
        SystemRefusedError: The system refused to open or read it, or has no memory for it; nothing is known of it.
    """
    source = _name(image)
    try:
        if isinstance(image, np.ndarray):
            return _to_rgb(_from_array(image)), 1
        if isinstance(image, Image.Image):
            return _to_rgb(image), _orientation(image)
        if isinstance(image, CroppedPicture):
            whole, orientation = load_image(image.picture)
            return whole.crop(image.inside(*whole.size)), orientation
        if isinstance(image, WarpedPicture):
            whole, orientation = load_image(image.picture)
            kept = whole.transform(image.size, Image.Transform.AFFINE, image.matrix, Image.Resampling.BILINEAR)
            return kept, orientation
        if not isinstance(image, str | os.PathLike | bytes | PackedPicture):
            raise ImageError(source, "expected a path, bytes, a Pillow image or a uint8 array")
        with io.BytesIO(image) if isinstance(image, bytes) else _plain_file(image) as file:
            return _read(file, at_least)
    except ImageError as error:
        raise ImageError(source, error.reason) from None
    except Exception as error:
        raise _refusal(source, error) from error


def image_size(path: str | os.PathLike[str] | PackedPicture | CroppedPicture | WarpedPicture) -> tuple[int, int]:
    """Return width and height of an image file as its header states them; its pixels are not decoded.

    Raises:
        ImageError: It cannot be read, or is of a format outside `FORMATS`.
        SystemRefusedError: The system refused to open or read it.
    """
    try:
        if isinstance(path, CroppedPicture):
            left, top, right, bottom = path.inside(*image_size(path.picture))
            return right - left, bottom - top
        if isinstance(path, WarpedPicture):
            return path.size
        with _plain_file(path) as file, _opened(file) as opened:
            return opened.size
    except ImageError as error:
        raise ImageError(str(path), error.reason) from None
    except Exception as error:
        raise _refusal(str(path), error) from error


def limit_pixels(most: int | None) -> None:
    """Set how many pixels an image may have in memory, for all threads of this process.

    Args:
        most: At least 1; None brings `MOST_PIXELS` back. A pixel takes 3 bytes, 4 with transparency, and for a moment
            twice as much.

    Raises:
        ConfigError: It is below 1.
    """
    global _most_pixels
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ConfigError(f"the limit of pixels is {most!r}, expected an integer of at least 1")
    _most_pixels = MOST_PIXELS if most is None else most


def _refusal(source: str, error: Exception) -> CompatError:
    """What to raise for whatever Pillow raised: OSError, SyntaxError, struct.error, zlib.error, MemoryError ..."""
    if isinstance(error, OSError):
        raise_if_refused(source, error)
    if isinstance(error, MemoryError):
        raise_if_refused(source, OSError(errno.ENOMEM, "there is not enough memory"), "decode")
    return ImageError(source, str(error) or type(error).__name__)


def _plain_file(image: str | os.PathLike[str] | PackedPicture) -> BinaryIO:
    if isinstance(image, PackedPicture):
        return io.BytesIO(image.read())
    if not Path(image).is_file():  # a pipe would block whoever opens it
        Path(image).stat()  # says what is not there
        raise ImageError("", "it is a folder, a pipe or a device; expected a file")
    return Path(image).open("rb")


def _read(file: BinaryIO, at_least: int) -> tuple[Image.Image, int]:
    """Decode the image in an open file; see `load_image`."""
    try:
        return _decode(file, at_least)
    except ValueError:
        file.seek(0)
        bare = _without_metadata(file.read())
        if bare is None:
            raise
        return _decode(io.BytesIO(bare), at_least)


def _decode(file: BinaryIO, at_least: int) -> tuple[Image.Image, int]:
    with _opened(file) as opened:
        if at_least:
            opened.draft(None, (at_least, at_least))
        if (pixels := opened.width * opened.height) > _most_pixels:
            raise ImageError(
                "",
                f"it has {opened.width} x {opened.height} = {pixels:,} pixels in memory, and the limit against "
                f"decompression bombs is {_most_pixels:,}; make it smaller, or raise the limit "
                f"(compat_sdk.images.limit_pixels)",
            )
        opened.load()
        return _to_rgb(opened), _orientation(opened)


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    """Open an image of an allowed format, its pixels not yet decoded.

    Pillow's own `Image.open` refuses by the pixels that a file states, before it is known at what scale it is decoded.
    """
    prefix = file.read(16)
    if not prefix:
        raise ImageError("", f"it is empty; expected {', '.join(FORMATS)}")
    Image.preinit()
    heif = _heif() if prefix[4:8] == b"ftyp" else ()
    for name in (*FORMATS, *heif):
        factory, accepts = Image.OPEN[name]
        if accepts is not None:
            accepted = accepts(prefix)
            if not accepted or isinstance(accepted, str):
                continue
        file.seek(0)
        with suppress(SyntaxError, IndexError, TypeError, struct.error):
            return factory(file, "")
    raise ImageError("", f"{_what(prefix, heif)}; expected {', '.join((*FORMATS, *heif))}")


def _what(prefix: bytes, heif: tuple[str, ...]) -> str:
    """What a file that is no image of an allowed format is, as far as its beginning tells."""
    if prefix[4:8] == b"ftyp":
        brand = _BRANDS.get(prefix[8:12])
        if brand in ("HEIC", "HEIF") and heif:
            return f"it is {brand} that its decoder cannot read: damaged, or of a kind that it does not know"
        if brand is not None:
            return (
                f"it is {brand}, which needs a decoder that is not installed; run: {install_command('heif')}, or "
                f"convert it to JPEG"
            )
        return "it is a video or an image of the ISO media family that is not read"
    known = next((name for magic, name in _OTHERS.items() if prefix.startswith(magic)), None)
    return f"it is {known}, not an image" if known else "not an image"


def _heif() -> tuple[str, ...]:
    """The format HEIF, where its decoder is installed."""
    if "HEIF" not in Image.OPEN and find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
    return ("HEIF",) if "HEIF" in Image.OPEN else ()


def _without_metadata(content: bytes) -> bytes | None:
    """A PNG without its texts and colour profile, which Pillow refuses when they are large; None for other files."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    kept, place, dropped = [content[:8]], 8, False
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 12 + length
        if content[place + 4 : place + 8] in _ANCILLARY:
            dropped = True
        else:
            kept.append(content[place:end])
        place = end
    return b"".join(kept) if dropped else None


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
    if isinstance(image, str | os.PathLike | PackedPicture | CroppedPicture | WarpedPicture):
        return str(image)
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or "Pillow image")
    return "array" if isinstance(image, np.ndarray) else type(image).__name__


def describe(value: object) -> str:
    """Return what an error should say that a value is."""
    if isinstance(value, np.ndarray):
        return f"it is {value.dtype} of shape {list(value.shape)}"
    return f"it is a {type(value).__name__}"
