"""From any picture to the pixels and the tensor that a network was trained on."""

from __future__ import annotations

from compat_sdk.images.decode import FORMATS, ImageLike, load_image
from compat_sdk.images.preprocess import Preprocessing, decode_many, open_image, to_input, to_pixels

__all__ = [
    "FORMATS",
    "ImageLike",
    "Preprocessing",
    "decode_many",
    "load_image",
    "open_image",
    "to_input",
    "to_pixels",
]
