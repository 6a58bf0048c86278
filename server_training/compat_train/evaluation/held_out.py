"""How often a finished gallery model finds another picture of the same identity, on pictures it has not learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from compat_sdk.datasets import open_dataset
from compat_train.config.training import GalleryConfig
from compat_train.data.pixels import decode_split
from compat_train.device import device_of
from compat_train.embed import embed_images
from compat_train.methods.watched import drawn, same_label
from compat_train.runs.checkpoint import Checkpoint
from compat_train.watch import chance_of, hits_at_1

_IMAGES = 256


@dataclass(frozen=True)
class HeldOut:
    """What was found.

    Attributes:
        accuracy: M(g,g) at top-1, in [0, 1].
        chance: What guessing gives, in [0, 1].
        queries: Images asked with.
        gallery: Images searched, that of the query aside.
    """

    accuracy: float
    chance: float
    queries: int
    gallery: int

    def __str__(self) -> str:
        return (
            f"M(g,g) {100 * self.accuracy:.1f} % at top-1 of {self.queries} held-out images by their labels among "
            f"{self.gallery} (chance {100 * self.chance:.1f} %)"
        )


def held_out_accuracy(done: Checkpoint, config: GalleryConfig) -> HeldOut | None:
    """M(g,g) at top-1 among at most 256 images of the split val, each searching the others.

    Args:
        done: The gallery model.
        config: What it was trained with, which names the data.

    Returns:
        None where there is no val split, or no image in it has another of its label.

    Raises:
        DataError: None of the images can be read.
    """
    root = config.source.root
    split = open_dataset(config.source.data, None if root is None else Path(root)).splits.get("val")
    if split is None or not len(split) or not split.labelled:
        return None
    split = drawn(split, _IMAGES, config.execution.seed)
    decoded = decode_split(split, done.preprocessing, skip_budget=max(0, len(split) - 1))
    right = same_label([split.labels[row] for row in decoded.kept])
    asking = right.any(1)
    if not asking.any():
        return None
    vectors = torch.from_numpy(
        np.asarray(
            embed_images(
                done.build(), decoded.images, done.preprocessing, device=device_of(config.execution.device),
                channels_last=True,
            )
        )
    )  # fmt: skip
    own = torch.eye(len(vectors), dtype=torch.bool)
    hits = hits_at_1(vectors, vectors, right, own)[asking]
    chance = chance_of(right[asking], own[asking])
    return HeldOut(float(hits.float().mean()), chance, int(asking.sum()), len(vectors) - 1)
