"""What a dataset's pictures are, as one digest: equal digests mean that the same was embedded and scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from compat_sdk.datasets.split import Dataset
from compat_sdk.errors import DataError
from compat_sdk.files import canonical_json, raise_if_refused, sha256_file


def content_sha256(dataset: Dataset, splits: Iterable[str]) -> str:
    """Digest of every picture's bytes and label in these splits, in order; file names do not count.

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
    return digest.hexdigest()


def picture_sha256(image: Path | np.ndarray) -> str:
    """Digest of a picture as it lies there, in 64 hexadecimal digits: a file's bytes, or an array's without its shape.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
    return sha256_file(image)


def _content(image: Path | np.ndarray) -> list[object]:
    try:
        digest = picture_sha256(image)
    except OSError as error:
        if isinstance(image, Path):
            raise_if_refused(image, error)
        raise DataError(f"cannot read {image}: {error.strerror or error}; repair it or leave it out") from error
    return [list(image.shape), digest] if isinstance(image, np.ndarray) else [digest]
