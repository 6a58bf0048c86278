"""From any picture to the pixels and the tensor that a network was trained on."""

from __future__ import annotations

from compat_sdk.images.decode import FORMATS, ImageLike, image_size, limit_pixels, load_image
from compat_sdk.images.finding import FoundPictures, find_pictures
from compat_sdk.images.preprocess import Preprocessing, decode_many, decode_readable, open_image, to_input, to_pixels

__all__ = [
    "FORMATS",
    "FoundPictures",
    "ImageLike",
    "Preprocessing",
    "decode_many",
    "decode_readable",
    "find_pictures",
    "image_size",
    "limit_pixels",
    "load_image",
    "open_image",
    "to_input",
    "to_pixels",
]
