"""From any picture to the pixels and the tensor that a network was trained on.

What loads an image library is loaded when it is first used: the settings of a training are read without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_sdk.door import door
from compat_sdk.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from compat_sdk.images.decode import FORMATS, ImageLike, image_size, limit_pixels, load_image
    from compat_sdk.images.finding import FoundPictures, find_pictures
    from compat_sdk.images.packed import CroppedPicture, PackedPicture, PictureFile, WarpedPicture
    from compat_sdk.images.preprocess import decode_many, decode_readable, open_image, to_input, to_pixels

__all__ = [
    "FORMATS",
    "CroppedPicture",
    "FoundPictures",
    "ImageLike",
    "PackedPicture",
    "PictureFile",
    "Preprocessing",
    "WarpedPicture",
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

__getattr__, __dir__ = door(
    __name__,
    {
        "CroppedPicture": "packed",
        "FORMATS": "decode",
        "FoundPictures": "finding",
        "ImageLike": "decode",
        "PictureFile": "packed",
        "PackedPicture": "packed",
        "WarpedPicture": "packed",
        "decode_many": "preprocess",
        "decode_readable": "preprocess",
        "find_pictures": "finding",
        "image_size": "decode",
        "limit_pixels": "decode",
        "load_image": "decode",
        "open_image": "preprocess",
        "to_input": "preprocess",
        "to_pixels": "preprocess",
    },
)
