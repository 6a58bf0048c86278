"""What a model is made from, so that a finished or half-finished run of other pictures is not taken for this one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.split import is_array
from compat_sdk.errors import ImageError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import PictureFile
from compat_sdk.images.packed import file_sha256, stamp_text

_BLOCK = 1024


class Origin:
    """Labelled pictures, known by two digests: a quick one of their files' stamps, and one of their content.

    Args:
        images: Files, or an array of pictures.
        labels: Of each picture.
        ids: Of each picture; empty where nothing but their order tells them apart.
    """

    def __init__(
        self, images: Sequence[PictureFile] | NDArray[np.uint8], labels: Iterable[str], ids: Sequence[str]
    ) -> None:
        self._images, self._labels, self._ids = images, tuple(labels), ids

    @property
    def images(self) -> int:
        """How many pictures."""
        return len(self._labels)

    @property
    def classes(self) -> int:
        """How many labels."""
        return len(set(self._labels))

    @cached_property
    def stamps(self) -> str:
        """SHA-256 of ids, labels, and each file's size and times of change; `content` where there are no files.

        The inode's own time is one of them: a picture of the same size, put in place with the old one's date, differs.
        """
        if is_array(self._images):
            return self.content
        digest = self._names()
        for path in self._images:
            try:
                digest.update(stamp_text(path))
            except OSError as error:
                raise_if_refused(path, error)
                digest.update(b"missing;")
        return digest.hexdigest()

    @cached_property
    def content(self) -> str:
        """SHA-256 of ids, labels and the bytes of every picture; files are read, and decoded never."""
        digest = self._names()
        if is_array(self._images):
            digest.update(str(self._images.shape).encode())
            for start in range(0, len(self._images), _BLOCK):
                digest.update(np.ascontiguousarray(self._images[start : start + _BLOCK]).data)
        else:
            for path in self._images:
                try:
                    digest.update(bytes.fromhex(file_sha256(path)))
                except ImageError:  # whoever decodes it says so
                    digest.update(b"missing;")
                except OSError as error:
                    raise_if_refused(path, error)  # or other data would be blamed
                    digest.update(b"missing;")
        return digest.hexdigest()

    def _names(self) -> hashlib._Hash:
        return hashlib.sha256(repr((self._labels, tuple(self._ids))).encode("utf-8", "surrogateescape"))
