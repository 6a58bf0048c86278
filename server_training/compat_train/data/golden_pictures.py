"""Eight small colour pictures of several sizes and shapes; models are proven on them, after export and when adopted."""

from __future__ import annotations

from pathlib import Path

PICTURES = Path(__file__).parent / "pictures"
"""The golden pictures of every bundle; a script among the tests of this project draws them."""


def standard_pictures() -> tuple[bytes, ...]:
    """The golden pictures that every bundle of images has: JPEG and PNG, in colour, of several sizes and shapes."""
    return tuple(path.read_bytes() for path in sorted(PICTURES.iterdir()) if path.suffix in (".jpg", ".png"))
