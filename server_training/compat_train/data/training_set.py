"""The training split of a dataset, decoded once and held as small integers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compat_sdk.datasets import Split, open_dataset, require_consistent, require_labels
from compat_sdk.datasets.split import is_array
from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing
from compat_sdk.outputs import require_own
from compat_sdk.progress import Progress
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.data.batches import Batches
from compat_train.data.origin import Origin
from compat_train.data.pixels import Pixels, decode_split
from compat_train.data.scenario_rows import scenario_rows
from compat_train.data.streamed import StreamedImages
from compat_train.parallel.group import leads
from compat_train.runs.layout import PIXELS


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Decoded training images.

    Attributes:
        pixels: uint8 ``[n, size, size, 3]`` RGB, in memory, memory-mapped or streamed.
        labels: int64 ``[n]``, positions in ``classes``; -1 of images without labels.
        classes: Class names, sorted; none where the images have no labels.
        source: What the images were decoded from; None where only they are known.
        ids: Name of each image; empty where only the pixels are known.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: Origin | None = field(default=None, repr=False)
    ids: tuple[str, ...] = field(default=(), repr=False)

    @property
    def has_labels(self) -> bool:
        """Whether the labels tell images apart."""
        return len(self.classes) > 1

    @cached_property
    def origin(self) -> Origin:
        """What tells this set from others: what it was decoded from, or else the decoded images."""
        names = (self.classes[label] if label >= 0 else "" for label in self.labels)
        return self.source or Origin(self.pixels, names, ())

    def batches(
        self,
        optimisation: Optimisation,
        execution: Execution,
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        device: torch.device,
    ) -> Batches:
        """The set as a run sees it, batch by batch; see `Batches`.

        Args:
            optimisation: Images per step.
            execution: Seed.
            augmentation: Random views.
            preprocessing: Of the model that sees the views: their size, and what is done to them afterwards.
            device: Where the batches are made.

        Raises:
            ConfigError: A batch is larger than the set.
        """
        return Batches(
            self.pixels,
            self.labels,
            batch=optimisation.batch,
            seed=execution.seed,
            augmentation=augmentation,
            device=device,
            mean=preprocessing.mean,
            size=preprocessing.size,
        )


def load_training_set(
    source: Source,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    without: frozenset[str] = frozenset(),
    labels_for: str | None = "a classification loss",
) -> TrainingSet:
    """Opens a dataset and decodes its training split, so that bad images are found before the first step.

    Args:
        source: Which dataset, which part of it, and how many unreadable images may be left out.
        preprocessing: Size and resize kernel of the model.
        cache: Folder for decoded images, where ``source`` names none; None decodes into memory.
        progress: Called with the number of decoded images.
        without: Ids of images that are left out.
        labels_for: What needs two classes or more, for the error; None where nothing does.

    Raises:
        DataError: No training split, one that lists an image twice, a scenario that leaves nothing of it, too many
            unreadable images; or no labels or fewer than two classes where they are needed, found before decoding.
    """
    split = _without(training_split(source), without)
    if labels_for is not None:
        _require_classes(split, source, labels_for)
    if source.streamed:
        decoded = Pixels(StreamedImages(split, preprocessing).as_array(), np.arange(len(split), dtype=np.int64))
    else:
        cache = pixels_folder(source, cache)
        decoded = decode_split(split, preprocessing, cache=cache, skip_budget=source.unreadable, progress=progress)
    names = [split.labels[row] for row in decoded.kept]
    classes = tuple(sorted(set(names) - {""}))
    numbers = {"": -1} | {name: number for number, name in enumerate(classes)}
    labels = np.fromiter((numbers[name] for name in names), np.int64, len(names))
    ids = tuple(split.ids[row] for row in decoded.kept)
    return TrainingSet(decoded.images, labels, classes, _origin(split), ids)


def _require_classes(split: Split, source: Source, what: str) -> None:
    require_labels(split, source.data, what)
    if (count := len(split.classes)) < 2:
        raise DataError(
            f"the split 'train' of {source.data} has {count} class; {what} needs at least 2"
            + ("" if source.scenario.everything else f"; this is what {source.scenario} leaves")
        )


def pixels_folder(source: Source, own: Path | None) -> Path | None:
    """Folder that keeps decoded images: the one that a training was told, or its own.

    Raises:
        ConfigError: The folder holds something else.
    """
    if source.pixels is None:
        return own
    folder = Path(source.pixels)
    if leads():
        require_own(folder, PIXELS, "a training that keeps decoded pictures")
    return folder


def origin_of(source: Source, data: TrainingSet | None = None, *, without: frozenset[str] = frozenset()) -> Origin:
    """What a run is made from: the training split of a dataset, or the set that the caller has decoded already.

    Args:
        source: The dataset.
        data: The decoded set.
        without: Ids of images that are left out of the split.

    Raises:
        DataError: The dataset cannot be used.
    """
    return _origin(_without(training_split(source), without)) if data is None else data.origin


def _origin(split: Split) -> Origin:
    return Origin(split.images, split.labels, split.ids)


def _without(split: Split, ids: frozenset[str]) -> Split:
    return split_rows(split, np.flatnonzero([name not in ids for name in split.ids])) if ids else split


def training_split(source: Source) -> Split:
    """The part of a dataset's training split that a scenario keeps, not decoded.

    Raises:
        DataError: The dataset cannot be used, or has no training split.
    """
    dataset = open_dataset(source.data, None if source.root is None else Path(source.root))
    if "train" not in dataset.splits or not len(dataset.splits["train"]):
        raise DataError(
            f"{source.data} has no images in its split 'train' (splits: {', '.join(dataset.splits) or 'none'}); "
            f"training needs train/ with one folder per identity, or rows with split=train"
        )
    split = dataset.splits["train"]
    require_consistent(split)
    if source.scenario.of_classes:
        require_labels(split, source.data, "a scenario of classes")
    if not source.scenario.everything:
        split = split_rows(split, scenario_rows(source.scenario, split.labels))
    return split


def split_rows(split: Split, rows: NDArray[np.int64]) -> Split:
    """The same split with some of its rows, in the given order."""
    picked = rows.tolist()
    return dataclasses.replace(
        split,
        images=split.images[rows] if is_array(split.images) else [split.images[row] for row in picked],
        labels=tuple(split.labels[row] for row in picked),
        ids=tuple(split.ids[row] for row in picked),
        query_side=None if split.query_side is None else tuple(split.query_side[row] for row in picked),
    )
