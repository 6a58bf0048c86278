"""Which images a training of a query model is watched on, and what is right among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.datasets import Split, open_dataset
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Source
from compat_train.config.query import QueryConfig
from compat_train.data.batches import step_generator
from compat_train.data.canvas import decoding
from compat_train.data.held_out import held_out_images
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import split_rows
from compat_train.methods.gallery_vectors import GalleryVectors
from compat_train.methods.unseen_classes import training_embeddings
from compat_train.runs.checkpoint import Checkpoint
from compat_train.watch import Watch

_PER_IDENTITY = 4
_DISTRACTORS = 1024
_DRAW = 6


def watched_images(config: QueryConfig) -> tuple[Split | None, frozenset[str]]:
    """The images to watch a training on, not decoded, and the ids of those that it must not learn from.

    They are at most ``config.watch`` images of the split val; where there is none, training images that are held out.

    Returns:
        The images, or None where nothing is watched; and the ids of those that come from the training split.

    Raises:
        ConfigError: Images are to be held out, and there is a split val; or more than half of them are.
        DataError: The dataset cannot be used.
    """
    if not config.watch:
        return None, frozenset()
    val = _validation(config.source)
    if val is not None and config.held_out:
        raise ConfigError(
            f"held_out is {config.held_out}, and {config.source.data} has a split val, which is watched; leave it out",
            setting="held_out",
        )
    if val is not None:
        return drawn(val, config.watch, config.execution.seed), frozenset()
    held = held_out_images(config.source, config.held_out)
    return (held, frozenset(held.ids)) if len(held) else (None, frozenset())


def watch_of(
    split: Split,
    network: nn.Module,
    preprocessing: Preprocessing,
    gallery: Checkpoint,
    vectors: GalleryVectors | None,
    device: torch.device,
    complete: Callable[[Tensor], Tensor] | None,
) -> Watch:
    """Decodes the images and lets the gallery model embed them, once.

    By labels where at least half of the images have another of their label: each image searches the others. Else each
    image searches for its own gallery vector, among those of the rest and of as many as 1,024 training images.

    Args:
        split: The images.
        network: The query network, in training; on its device.
        preprocessing: The query network's.
        gallery: The gallery model.
        vectors: Its vectors of training images, the distractors, where they are there already.
        device: Where to run.
        complete: From the network's outputs to what the finished model writes; None where that is the same.

    Raises:
        DataError: None of the images can be read.
    """
    decoded = decode_split(split, gallery.preprocessing, skip_budget=max(0, len(split) - 1))
    ids = [split.ids[row] for row in decoded.kept]
    of_gallery = training_embeddings(gallery, decoded.images, device, ids=ids)
    images: NDArray[np.uint8] = decoded.images
    if decoding(preprocessing) != decoding(gallery.preprocessing):
        images = decode_split(split_rows(split, decoded.kept), preprocessing).images
    labels = [split.labels[row] for row in decoded.kept]
    right = same_label(labels)
    asking = right.any(1)
    if 2 * int(asking.sum()) >= len(labels):
        rows = torch.from_numpy(np.flatnonzero(asking.numpy()))
        queries: NDArray[np.uint8] = images[rows.numpy()]
        own = torch.nn.functional.one_hot(rows, len(labels)).bool()
        return Watch(
            network, queries, of_gallery[rows.to(device)], of_gallery, right[rows], preprocessing, device,
            by="labels", hidden=own,
            complete=complete,
        )  # fmt: skip
    more = of_gallery[:0] if vectors is None else vectors.vectors[:_DISTRACTORS]
    searched = torch.cat((of_gallery, more))
    right = torch.eye(len(of_gallery), len(searched), dtype=torch.bool)
    return Watch(network, images, of_gallery, searched, right, preprocessing, device, by="images", complete=complete)


def same_label(labels: list[str]) -> Tensor:
    """Bool ``[n, n]``: which other images have the label of each; those without a label have none in common."""
    numbers = torch.from_numpy(np.unique(np.array(labels), return_inverse=True)[1])
    named = torch.tensor([bool(label) for label in labels])
    same = (numbers[:, None] == numbers[None, :]) & named[:, None]
    return same & ~torch.eye(len(labels), dtype=torch.bool)


def _validation(source: Source) -> Split | None:
    dataset = open_dataset(source.data, None if source.root is None else Path(source.root))
    split = dataset.splits.get("val")
    return split if split is not None and len(split) else None


def drawn(split: Split, count: int, seed: int) -> Split:
    """Some images of a split: identities in an order that the seed draws, four images of each at most.

    Args:
        split: Where they are taken from.
        count: At most so many.
        seed: Of the draw.
    """
    labels = np.array(split.labels)
    order = torch.randperm(len(split), generator=step_generator(seed, _DRAW, 0)).numpy()
    names = list(dict.fromkeys(labels[order].tolist()))
    most = _PER_IDENTITY if len(names) > 1 else count
    rows = [row for name in names for row in np.flatnonzero(labels == name)[:most].tolist()][:count]
    return split_rows(split, np.sort(np.array(rows, np.int64)))
