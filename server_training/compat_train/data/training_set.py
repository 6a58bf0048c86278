"""The training split of a dataset, decoded once and held as small integers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compat_sdk.datasets import Split, open_dataset, require_consistent, require_labels
from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing
from compat_sdk.progress import Progress
from compat_train.config.training import Augmentation, Execution, Optimisation, Source
from compat_train.data.batches import Batches
from compat_train.data.held_out import held_out
from compat_train.data.origin import Origin
from compat_train.data.pixels import decode_split
from compat_train.data.scenario_rows import scenario_rows, split_rows


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Decoded training images.

    Attributes:
        pixels: uint8 ``[n, size, size, 3]`` RGB, in memory or memory-mapped.
        labels: int64 ``[n]``, positions in ``classes``; -1 of images without labels.
        classes: Class names, sorted; none where the images have no labels.
        source: What the images were decoded from; None where only they are known.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: Origin | None = field(default=None, repr=False)

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
            preprocessing: What the model does to the pixels afterwards.
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
        )


def load_training_set(
    source: Source,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    labels_for: str | None = "a classification loss",
) -> TrainingSet:
    """Opens a dataset and decodes its training split, so that bad images are found before the first step.

    Args:
        source: Which dataset, which part of it, and how many unreadable images may be left out.
        preprocessing: Size and resize kernel of the model.
        cache: Folder for decoded images that do not fit in memory.
        progress: Called with the number of decoded images.
        labels_for: What needs two classes or more, for the error; None where nothing does.

    Raises:
        DataError: No training split, one that lists an image twice, a scenario that leaves nothing of it, too many
            unreadable images; or no labels or fewer than two classes where they are needed, found before decoding.
    """
    split = _training_split(source)
    if labels_for is not None:
        _require_classes(split, source, labels_for)
    return _decoded(split, source, preprocessing, cache, progress)


def load_held_out(
    source: Source, preprocessing: Preprocessing, *, cache: Path | None = None, progress: Progress | None = None
) -> TrainingSet:
    """The training images that ``source.held_out`` keeps from training, decoded; their own classes.

    Args:
        source: As for `load_training_set`, with ``held_out`` above 0.
        preprocessing: Size and resize kernel of the model that will look at them.
        cache: Folder for decoded images that do not fit in memory.
        progress: Called with the number of decoded images.

    Raises:
        DataError: As `load_training_set`, or nothing is held out.
    """
    return _decoded(held_out(_chosen(source), source.held_out)[1], source, preprocessing, cache, progress)


def _require_classes(split: Split, source: Source, what: str) -> None:
    require_labels(split, source.data, what)
    if (count := len(split.classes)) < 2:
        raise DataError(
            f"the split 'train' of {source.data} has {count} class; {what} needs at least 2"
            + ("" if source.scenario.everything else f"; this is what {source.scenario} leaves")
        )


def _decoded(
    split: Split, source: Source, preprocessing: Preprocessing, cache: Path | None, progress: Progress | None
) -> TrainingSet:
    decoded = decode_split(split, preprocessing, cache=cache, skip_budget=source.unreadable, progress=progress)
    names = [split.labels[row] for row in decoded.kept]
    classes = tuple(sorted(set(names) - {""}))
    numbers = {"": -1} | {name: number for number, name in enumerate(classes)}
    labels = np.fromiter((numbers[name] for name in names), np.int64, len(names))
    return TrainingSet(decoded.images, labels, classes, _origin(split))


def origin_of(source: Source, data: TrainingSet | None = None) -> Origin:
    """What a run is made from: the training split of a dataset, or the set that the caller has decoded already.

    Raises:
        DataError: The dataset cannot be used.
    """
    return _origin(_training_split(source)) if data is None else data.origin


def _origin(split: Split) -> Origin:
    return Origin(split.images, split.labels, split.ids)


def _training_split(source: Source) -> Split:
    """What is trained on: the part of a split that a scenario keeps, without the images held out; not decoded."""
    split = _chosen(source)
    return held_out(split, source.held_out)[0] if source.held_out else split


def _chosen(source: Source) -> Split:
    """The part of a dataset's training split that a scenario keeps, not decoded."""
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
