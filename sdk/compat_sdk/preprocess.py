"""The name that `compat_sdk.images` had up to version 0.7; its names are importable from here too."""

from __future__ import annotations

from compat_sdk.images import ImageLike, Preprocessing, decode_many, open_image, to_input, to_pixels

__all__ = ["ImageLike", "Preprocessing", "decode_many", "open_image", "to_input", "to_pixels"]
