"""What a trained model and the fixed one that it learns from are shown: the same views, as each preprocessing says.

Where views are not crops, each model's are taken from the images as it decodes them itself. So an image as it is,
without augmentation, is to both exactly what they see of a file in use. Crops are taken from one larger picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing
from compat_sdk.progress import Progress
from compat_train.config.query import QueryConfig
from compat_train.data.canvas import canvas_of, decoding
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.runs.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class Shown:
    """Where the views of both models come from.

    Attributes:
        preprocessing: The trained model's own.
        seen: What the trained model's batches are taken from.
        pixels: uint8 ``[n, side, side, 3]``, what the fixed model's views are taken from.
        shared: Whether a batch's images are the fixed model's views too.
        kept: Folder that keeps the fixed model's outputs; None for memory alone.
    """

    preprocessing: Preprocessing
    seen: TrainingSet
    pixels: NDArray[np.uint8]
    shared: bool = True
    kept: Path | None = None

    @staticmethod
    def alike(gallery: Checkpoint, data: TrainingSet) -> Shown:
        """A model that sees what the gallery model sees."""
        return Shown(gallery.preprocessing, data, data.pixels)


def shown_images(
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    *,
    cache: Path,
    kept: Path | None,
    without: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> Shown:
    """Decodes the training images again where the trained model or its crops need others than the gallery model's.

    Args:
        config: Of the training.
        gallery: The gallery model.
        data: The training images as the gallery model decodes them.
        cache: Folder for decoded images.
        kept: Folder that keeps the gallery model's outputs.
        without: Ids of images that are left out of the source.
        progress: Called with the number of decoded images.

    Raises:
        DataError: The source cannot be decoded, or is not what ``data`` was decoded from.
        ConfigError: The canvas is too small.
    """
    own, theirs = config.preprocessing or gallery.preprocessing, gallery.preprocessing
    crops = bool(config.augmentation.random_crop)
    seen = _decoded_as(canvas_of(config.augmentation, own, theirs), config, gallery, data, cache, without, progress)
    same_pixels = own.size == theirs.size and (crops or decoding(own) == decoding(theirs))
    same_blank = own.mean == theirs.mean or not config.augmentation.cutout
    return Shown(own, seen, seen.pixels if crops else data.pixels, same_pixels and same_blank, kept)


def plain_images(
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    *,
    cache: Path,
    without: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """The training images as the trained model sees them in use, uint8 ``[n, size, size, 3]``; see `shown_images`."""
    own = decoding(config.preprocessing or gallery.preprocessing)
    return _decoded_as(own, config, gallery, data, cache, without, progress).pixels


def _decoded_as(
    wanted: Preprocessing,
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    cache: Path,
    without: frozenset[str],
    progress: Progress | None,
) -> TrainingSet:
    if wanted == decoding(gallery.preprocessing):
        return data
    found = load_training_set(config.source, wanted, cache=cache, progress=progress, without=without, labels_for=None)
    if found.origin.stamps != data.origin.stamps or len(found.labels) != len(data.labels):
        raise DataError(
            f"decoded for the trained model, {config.source.data} has {len(found.labels)} images, and "
            f"{len(data.labels)} others decoded for the gallery model; expected the same: leave out size and canvas"
        )
    return found
