"""The two shapes that every dataset takes: a split, and a set of splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.relevance import Relevance
from compat_sdk.errors import DataError
from compat_sdk.images import PictureFile
from compat_sdk.shown import shortened
from compat_sdk.spelling import composed

SPLIT_NAMES = ("train", "val", "query", "gallery")
VAL_SIDES = ("val_query", "val_gallery")
"""Folders that together are the split ``val``, of a set whose queries differ in kind from its gallery."""


@dataclass(frozen=True)
class Split:
    """Images under one name, labelled or not.

    Attributes:
        name: ``"train"``, ``"val"``, ``"query"`` or ``"gallery"``.
        images: One path or member of a tar file per image, or an array ``[n, h, w]`` (grey) or ``[n, h, w, 3]``
            (RGB) of uint8, possibly memory-mapped.
        labels: Identity of each image; of images without identities, ``""`` for each.
        ids: Name of each image; unique within a split that :func:`check_dataset` accepts.
        query_side: For ``val``: whether each image stands for a query (true) or a gallery image, in a set whose
            queries differ in kind from its gallery; None where they do not.
        left_out: Files that were not taken for pictures, by ending or reason, see `compat_sdk.images.find_pictures`.
    """

    name: str
    images: Sequence[PictureFile] | NDArray[np.uint8] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)
    query_side: tuple[bool, ...] | None = field(default=None, repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.name not in SPLIT_NAMES:
            raise DataError(
                f"found a split named {shortened(repr(self.name))}; expected one of {', '.join(SPLIT_NAMES)}"
            )
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise DataError(
                f"split {self.name} has {len(self.images)} images, {len(self.labels)} labels and "
                f"{len(self.ids)} ids; expected as many of each"
            )
        if self.query_side is not None and len(self.query_side) != len(self.labels):
            raise DataError(
                f"split {self.name} has {len(self.labels)} images and {len(self.query_side)} marks of the query side; "
                f"expected as many of each"
            )
        if self.labels and any(self.labels) != all(self.labels):
            bare = self.labels.index("")
            raise DataError(
                f"split {self.name} has labels, but {shortened(self.ids[bare])} has none; label every image or none"
            )
        images = self.images
        if is_array(images):
            right_shape = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
            if images.dtype != np.uint8 or not right_shape:
                raise DataError(
                    f"split {self.name} holds {images.dtype} images of shape {list(images.shape)}; "
                    f"expected uint8 [n, h, w] or [n, h, w, 3]"
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels, sorted; none where the images have no identities."""
        return tuple(sorted(set(self.labels) - {""}))

    @property
    def labelled(self) -> bool:
        """Whether its images have identities; true of an empty split, which lacks images rather than labels."""
        return all(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Splits under one name.

    Attributes:
        name: What was opened: a dataset's name, or the name of its folder or file.
        splits: By split name. ``train``, ``query`` and ``gallery`` as a rule, ``val`` sometimes.
        description: One line for people.
        left_out: What lies beside the splits and is no part of them, by ending or reason.
        files: Files that were read for it beside its pictures, such as arrays and lists.
        relevance: What each query should find, where it is not the gallery images of its label.
        same: For pairs: whether the query image and the gallery image of a place are of one identity.
    """

    name: str
    splits: Mapping[str, Split] = field(repr=False)
    description: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict, repr=False)
    files: tuple[Path, ...] = field(default=(), repr=False)
    relevance: Relevance | None = field(default=None, repr=False)
    same: tuple[bool, ...] | None = field(default=None, repr=False)

    def split(self, name: str) -> Split:
        """Returns one split.

        Raises:
            DataError: The dataset has no such split.
        """
        if name not in self.splits:
            has = ", ".join(self.splits) or "none"
            raise DataError(f"dataset {self.name} has no {name} split, only: {has}; add one or use other data")
        return self.splits[name]


def is_array(images: Sequence[PictureFile] | NDArray[np.uint8]) -> TypeGuard[NDArray[np.uint8]]:
    """Tells whether a split's images are one array rather than a list of paths."""
    return isinstance(images, np.ndarray)


def require_labels(split: Split, data: object, what: str) -> None:
    """Refuse images without identities where identities are needed, before any image is decoded.

    Args:
        split: The images.
        data: What they were opened from, for the message.
        what: What needs identities, such as ``"method 'bct'"``.

    Raises:
        DataError: The split's images have none.
    """
    if not split.labelled:
        raise DataError(
            f"the {len(split)} images of {split.name} in {shortened(str(data))} have no labels, which {what} needs; "
            f"put them into {split.name}/ with one folder per identity, or list them with a column label"
        )


def identity_name(name: str, where: object) -> str:
    """Return the name of an identity in Unicode's composed form (NFC) and without space around it.

    So one person is one name, however it was typed.

    Raises:
        DataError: It is empty, or not text, such as a folder's name in another encoding than the system's.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the name {name!r} ({where}) is not valid UTF-8, so no file could hold it; rename the folder"
        ) from error
    if not name.strip():
        raise DataError(f"the name {name!r} ({where}) is empty; name the identity")
    return composed(name.strip())


def numbered_ids(name: str, count: int) -> tuple[str, ...]:
    """Returns ``("query-000000", "query-000001", ...)`` for images that have no name of their own."""
    return tuple(f"{name}-{row:06d}" for row in range(count))
