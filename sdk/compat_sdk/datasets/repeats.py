"""Images that stand in a split more than once: as one name, as one file, or as files of the same bytes."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.content import picture_sha256
from compat_sdk.datasets.split import Split
from compat_sdk.errors import ImageError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import PackedPicture, PictureFile
from compat_sdk.images.packed import file_of, part_of, stamp_of

Groups = list[tuple[int, ...]]
"""Rows that belong together, two or more each, in the order of their first."""


def same_names(split: Split) -> Groups:
    """Rows of one id; of files ``./a.jpg`` and ``x/../a.jpg`` are ``a.jpg``."""
    plain = isinstance(split.images, np.ndarray)
    return _grouped((name if plain else posixpath.normpath(name)) for name in split.ids)


def same_files(split: Split) -> Groups:
    """Rows of one file, whatever name or link leads to it; none of an array."""
    return _grouped(map(_file, split.images)) if not isinstance(split.images, np.ndarray) else []


def same_bytes(split: Split) -> Groups:
    """Rows of the same bytes; files are read only where another has their size.

    Raises:
        SystemRefusedError: The system refused to read a file, so that nobody knows what it is.
    """
    sizes = [_size(image) for image in split.images]
    many = Counter(sizes)
    return _grouped(
        _digest(image) if size is not None and many[size] > 1 else None
        for image, size in zip(split.images, sizes, strict=True)
    )


def _grouped(keys: Iterable[Hashable]) -> Groups:
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, []).append(row)
    return [tuple(found) for found in rows.values() if len(found) > 1]


def _file(path: PictureFile) -> Hashable:
    file, part = file_of(path), part_of(path)
    if isinstance(path, PackedPicture):
        return file.resolve(), part
    try:
        status = file.stat()
    except OSError:  # whoever decodes it says so
        return None
    return (status.st_dev, status.st_ino, part) if status.st_ino else (file.resolve(), part)


def _size(image: PictureFile | NDArray[np.uint8]) -> Hashable:
    if isinstance(image, np.ndarray):
        return image.shape
    try:
        return stamp_of(image)[0]
    except OSError:  # whoever decodes it says so
        return None


def _digest(image: PictureFile | NDArray[np.uint8]) -> str | None:
    try:
        return picture_sha256(image)
    except ImageError:  # whoever decodes it says so
        return None
    except OSError as error:
        raise_if_refused(image, error)
        return None
