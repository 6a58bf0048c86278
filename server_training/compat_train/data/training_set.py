"""The training split of a dataset, decoded once and held as small integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.dataset import open_dataset
from compat_sdk.errors import DataError
from compat_sdk.preprocess import Preprocessing
from compat_train.config import Source
from compat_train.data.pixels import decode_split


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Decoded training images.

    Attributes:
        pixels: uint8 ``[n, size, size, 3]`` RGB, in memory or memory-mapped.
        labels: int64 ``[n]``, positions in ``classes``.
        classes: Class names, sorted.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def load_training_set(
    source: Source,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    progress: Callable[[str, int, int, Mapping[str, float]], None] | None = None,
) -> TrainingSet:
    """Opens a dataset and decodes its training split, so that bad images are found before the first step.

    Args:
        source: Which dataset, and how many unreadable images may be left out.
        preprocessing: Size and resize kernel of the model.
        cache: Folder for decoded images that do not fit in memory.
        progress: Called with the number of decoded images.

    Raises:
        DataError: No training split, fewer than two classes, or too many unreadable images.
    """
    dataset = open_dataset(source.data, None if source.root is None else Path(source.root))
    if "train" not in dataset.splits or not len(dataset.splits["train"]):
        raise DataError(
            f"{source.data} has no images in its split 'train' (splits: {', '.join(dataset.splits) or 'none'}); "
            f"training needs train/ with one folder per identity, or rows with split=train"
        )
    split = dataset.splits["train"]
    decoded = decode_split(split, preprocessing, cache=cache, skip_budget=source.unreadable, progress=progress)
    names = [split.labels[row] for row in decoded.kept]
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise DataError(
            f"the split 'train' of {source.data} has {len(classes)} class; a classification loss needs at least 2"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.fromiter((numbers[name] for name in names), np.int64, len(names))
    return TrainingSet(decoded.images, labels, classes)
