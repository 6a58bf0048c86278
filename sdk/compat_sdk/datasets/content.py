"""What a dataset's pictures are, as one digest: equal digests mean that the same was embedded and scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from compat_sdk.datasets.split import Dataset
from compat_sdk.errors import DataError
from compat_sdk.files import canonical_json, open_plain


def content_sha256(dataset: Dataset, splits: Iterable[str]) -> str:
    """Digest of every picture's bytes and label in these splits, in order; file names do not count.

    Args:
        dataset: Of files, whose bytes count as they lie on the disk, or of arrays.
        splits: Names of the splits, in the order that counts.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: A split is missing, or a file cannot be read.
    """
    digest = hashlib.sha256()
    for name in splits:
        split = dataset.split(name)
        digest.update(canonical_json([name, len(split)]))
        for image, label in zip(split.images, split.labels, strict=True):
            digest.update(canonical_json([label, _content(image)]))
    return digest.hexdigest()


def _content(image: Path | np.ndarray) -> list[object]:
    if isinstance(image, np.ndarray):
        return [list(image.shape), hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()]
    try:
        with open_plain(image) as file:
            return [hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError as error:
        raise DataError(f"cannot read {image}: {error.strerror or error}; repair it or leave it out") from error
