"""What a gallery model's vectors look like over the training images: their mean, and a bank of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compat_train.data.batches import step_generator
from compat_train.data.training_set import TrainingSet
from compat_train.losses.centred import mean_vector
from compat_train.methods.gallery_outputs import plain_outputs
from compat_train.runs.checkpoint import Checkpoint

_MOST = 8192
_DRAW = 5


@dataclass(frozen=True, eq=False)
class Bank:
    """Gallery vectors of some training images.

    Attributes:
        vectors: float32 ``[rows, dim]``, unit norm.
        images: int64 ``[rows]``, row of the training set that each shows, on the CPU.
    """

    vectors: Tensor
    images: Tensor

    def rows_of(self, index: Tensor) -> Tensor:
        """Row of the bank that shows each of some training images, int64 ``[n]``, -1 for none, on the bank's device."""
        same = index.cpu()[:, None] == self.images[None, :]
        return torch.where(same.any(1), same.int().argmax(1), -1).to(self.vectors.device)


@dataclass(frozen=True, eq=False)
class GalleryVectors:
    """The gallery model's vectors of plain training images: all of them, or 8,192 that the seed draws.

    Attributes:
        vectors: float32 ``[n, dim]``, unit norm.
        images: int64 ``[n]``, row of the training set that each shows, on the CPU.
        mean: float32 ``[dim]``, of a norm in [0, 1]: the cone's axis, and how narrow it is.
    """

    vectors: Tensor
    images: Tensor
    mean: Tensor

    def bank(self, rows: int) -> Bank:
        """The first ``rows`` of them, or all where there are fewer."""
        return Bank(self.vectors[:rows], self.images[:rows])


def gallery_vectors(
    gallery: Checkpoint, data: TrainingSet, device: torch.device, *, seed: int, kept: Path | None = None
) -> GalleryVectors:
    """Embeds at most 8,192 training images by the gallery model, in an order that the seed draws.

    Args:
        gallery: The frozen gallery model.
        data: Training images, decoded as the model does.
        device: Where to run, and where the vectors stay.
        seed: Of the draw, at least 0.
        kept: Folder where they outlive the process; None keeps them in memory.
    """
    images = torch.randperm(len(data.pixels), generator=step_generator(seed, _DRAW, 0))[:_MOST]
    vectors = plain_outputs(gallery, data.pixels, images.numpy(), device, kept=kept, ids=data.ids)
    return GalleryVectors(vectors, images, mean_vector(vectors))
