"""A picture inside a tar file: read by its place there, never written to the disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from compat_sdk.errors import ImageError
from compat_sdk.files.digests import sha256_file
from compat_sdk.files.plain import open_plain

_LARGEST = 1 << 28  # bytes of one picture, which is read into memory as a whole


@dataclass(frozen=True)
class TarMember:
    """A file in a tar file that is not compressed.

    Attributes:
        tar: The tar file.
        name: The member's name there, for people and as an id.
        offset: Byte of the tar file where the member's content begins.
        size: Bytes of the content.
    """

    tar: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}/{self.name}"

    def read(self) -> bytes:
        """Its content.

        Raises:
            ImageError: It is larger than 256 MiB, or the tar file ends before it does.
            OSError: The tar file cannot be read.
        """
        if self.size > _LARGEST:
            raise ImageError(str(self), f"it has {self.size:,} bytes; expected at most {_LARGEST:,}")
        with open_plain(self.tar) as file:
            file.seek(self.offset)
            found = file.read(self.size)
        if len(found) != self.size:
            raise ImageError(str(self), f"the tar file ends after {len(found):,} of its {self.size:,} bytes")
        return found


PictureFile: TypeAlias = Path | TarMember
"""A picture on a disk: a file of its own, or a member of a tar file."""


def stamp_of(picture: PictureFile) -> tuple[int, int, int]:
    """Bytes of a picture, and when its file, or its tar file, was last written and last changed, in nanoseconds.

    Raises:
        OSError: The file cannot be looked at.
    """
    status = (picture.tar if isinstance(picture, TarMember) else picture).stat()
    size = picture.size if isinstance(picture, TarMember) else status.st_size
    return size, status.st_mtime_ns, status.st_ctime_ns


def file_sha256(picture: PictureFile) -> str:
    """SHA-256 of a picture's bytes as they lie on the disk, 64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
        ImageError: It is a member of a tar file, and too large or cut off.
    """
    return hashlib.sha256(picture.read()).hexdigest() if isinstance(picture, TarMember) else sha256_file(picture)
