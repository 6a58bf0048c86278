"""What a dataset's pictures are, as one digest: equal digests mean that the same was embedded and scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from compat_sdk.datasets.split import Dataset
from compat_sdk.errors import DataError, ImageError
from compat_sdk.files.documents import canonical_json
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import PictureFile
from compat_sdk.images.packed import file_sha256


def content_sha256(dataset: Dataset, splits: Iterable[str]) -> str:
    """Digest of every picture's bytes and label in these splits, in order; file names do not count.

    What the set lists as right or as junk counts too, where it does.

    Args:
        dataset: Of files, whose bytes count as they lie on the disk, or of arrays.
        splits: Names of the splits, in the order that counts.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: A split is missing, or a file cannot be read.
        SystemRefusedError: The system refused to read a file.
    """
    digest = hashlib.sha256()
    for name in splits:
        split = dataset.split(name)
        digest.update(canonical_json([name, len(split)]))
        for image, label in zip(split.images, split.labels, strict=True):
            digest.update(canonical_json([label, _content(image)]))
    if dataset.relevance is not None:
        for rows in (*dataset.relevance.positives, *dataset.relevance.ignored):
            digest.update(canonical_json(rows.tolist()))
    return digest.hexdigest()


def picture_sha256(image: PictureFile | np.ndarray) -> str:
    """Digest of a picture as it lies there, in 64 hexadecimal digits: a file's bytes, or an array's without its shape.

    Raises:
        OSError: The file cannot be read.
        ImageError: It is a member of a tar file, and too large or cut off.
    """
    if isinstance(image, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
    return file_sha256(image)


def _content(image: PictureFile | np.ndarray) -> list[object]:
    try:
        digest = picture_sha256(image)
    except OSError as error:
        raise_if_refused(image, error)
        raise DataError(f"cannot read {image}: {error.strerror or error}; repair it or leave it out") from error
    except ImageError as error:
        raise DataError(f"{error}; repair it or leave it out") from error
    return [list(image.shape), digest] if isinstance(image, np.ndarray) else [digest]
