"""Pictures that are no file of their own: parts of a larger file, and parts of a larger picture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from compat_sdk.errors import CorruptFileError, ImageError
from compat_sdk.files.digests import sha256_file
from compat_sdk.files.plain import open_plain

_LARGEST = 1 << 28  # bytes of one picture, which is read into memory as a whole


@dataclass(frozen=True)
class PackedPicture:
    """A picture's bytes inside a larger file: a member of a tar file, a record, an entry of a list.

    Attributes:
        file: The larger file, not compressed.
        name: The picture's name there, for people and as an id.
        offset: Byte of the file where the picture begins.
        size: Bytes of the picture there.
        more: Offset and size of further pieces that follow on the first, where the file divides the picture.
    """

    file: Path
    name: str
    offset: int
    size: int
    more: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.file}/{self.name}"

    @property
    def length(self) -> int:
        """Bytes of the whole picture."""
        return self.size + sum(size for _, size in self.more)

    def read(self) -> bytes:
        """Its content.

        Raises:
            ImageError: It is larger than 256 MiB, or the file ends before it does.
            OSError: The file cannot be read.
        """
        if self.length > _LARGEST:
            raise ImageError(str(self), f"it has {self.length:,} bytes; expected at most {_LARGEST:,}")
        found = b""
        with open_plain(self.file) as file:
            for offset, size in ((self.offset, self.size), *self.more):
                file.seek(offset)
                found += file.read(size)
        if len(found) != self.length:
            raise ImageError(str(self), f"its file ends after {len(found):,} of its {self.length:,} bytes")
        return found


@dataclass(frozen=True)
class CroppedPicture:
    """The part of a picture inside a box, as annotations give it.

    Attributes:
        picture: The whole picture.
        box: Left, top, right and bottom edge in pixels of the picture as it is stored, before any EXIF turn. What lies
            outside the picture is cut off.
    """

    picture: Path | PackedPicture
    box: tuple[float, float, float, float]

    def __str__(self) -> str:
        return f"{self.picture}[{','.join(f'{edge:g}' for edge in self.box)}]"

    def inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box in whole pixels, within a picture of this size.

        Raises:
            ImageError: No pixel of the picture lies in it.
        """
        left, top, right, bottom = (round(edge) for edge in self.box)
        found = max(0, left), max(0, top), min(width, right), min(height, bottom)
        if found[0] >= found[2] or found[1] >= found[3]:
            raise ImageError(
                str(self), f"no pixel of its {width} x {height} lies in the box {left}, {top}, {right}, {bottom}"
            )
        return found


@dataclass(frozen=True)
class WarpedPicture:
    """A picture turned, scaled and shifted, as faces are brought to one place by their eyes and mouth.

    Attributes:
        picture: The whole picture.
        matrix: ``a, b, c, d, e, f``: the pixel whose corner is x, y comes from ``a x + b y + c``, ``d x + e y + f`` of
            the picture as it is stored. What lies outside it is black.
        size: Width and height of the result.
    """

    picture: Path | PackedPicture
    matrix: tuple[float, float, float, float, float, float]
    size: tuple[int, int]

    def __str__(self) -> str:
        return str(self.picture)


PictureFile: TypeAlias = Path | PackedPicture | CroppedPicture | WarpedPicture
"""A picture on a disk: a file of its own, a part of a larger file, or made of either's picture."""


def _whole(picture: PictureFile) -> Path | PackedPicture:
    return picture.picture if isinstance(picture, CroppedPicture | WarpedPicture) else picture


def _made(picture: CroppedPicture | WarpedPicture) -> tuple[object, ...]:
    """What is made of the whole picture."""
    return picture.box if isinstance(picture, CroppedPicture) else (picture.matrix, picture.size)


def file_of(picture: PictureFile) -> Path:
    """The file that a picture is read from."""
    whole = _whole(picture)
    return whole.file if isinstance(whole, PackedPicture) else whole


def part_of(picture: PictureFile) -> tuple[object, ...]:
    """What tells pictures of one file apart: nothing of a file of its own, else where it lies in it."""
    if isinstance(picture, CroppedPicture | WarpedPicture):
        return (*part_of(picture.picture), _made(picture))
    return (picture.offset,) if isinstance(picture, PackedPicture) else ()


def read_picture(picture: PictureFile) -> bytes:
    """A picture's bytes as they lie on the disk; of a part of a picture, those of the whole.

    Raises:
        OSError: It cannot be read.
        ImageError: It is larger than 256 MiB, or its file is no plain one or is cut off.
    """
    whole = _whole(picture)
    try:
        if isinstance(whole, PackedPicture):
            return whole.read()
        with open_plain(whole) as file:
            return file.read()
    except CorruptFileError as error:
        raise ImageError(str(picture), str(error)) from error


def stamp_of(picture: PictureFile) -> tuple[int, int, int]:
    """Bytes of a picture, and when its file was last written and last changed, in nanoseconds.

    Raises:
        OSError: The file cannot be looked at.
    """
    whole = _whole(picture)
    status = file_of(whole).stat()
    size = whole.length if isinstance(whole, PackedPicture) else status.st_size
    return size, status.st_mtime_ns, status.st_ctime_ns


def stamp_text(picture: PictureFile) -> bytes:
    """What tells that a picture was changed, for a digest: its stamp, and the box of a part.

    Raises:
        OSError: The file cannot be looked at.
    """
    made = f",{_made(picture)}" if isinstance(picture, CroppedPicture | WarpedPicture) else ""
    return ("{},{},{}".format(*stamp_of(picture)) + f"{made};").encode()


def file_sha256(picture: PictureFile) -> str:
    """SHA-256 of a picture's bytes as they lie on the disk, 64 hexadecimal digits; of a part, with its box after them.

    Raises:
        OSError: It cannot be read.
        ImageError: It is a part of a file, and too large or cut off.
    """
    if isinstance(picture, CroppedPicture | WarpedPicture):
        return hashlib.sha256(f"{file_sha256(picture.picture)}{_made(picture)}".encode()).hexdigest()
    if isinstance(picture, PackedPicture):
        return hashlib.sha256(picture.read()).hexdigest()
    return sha256_file(picture)
