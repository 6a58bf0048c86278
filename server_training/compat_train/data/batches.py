"""Batches as a function of the step alone, so that a resumed run sees what an undisturbed one would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Augmentation
from compat_train.data.augment import render
from compat_train.data.views import Views, fixed_views, step_views

_ORDER, _VIEW = 1, 2


def step_generator(seed: int, purpose: int, number: int) -> torch.Generator:
    """A CPU generator that depends on its three arguments only, each at least 0."""
    mixed = np.random.SeedSequence((seed, purpose, number)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


def unit_range(pixels: Tensor) -> Tensor:
    """Images in [0, 1] from bytes: uint8 ``[n, size, size, 3]`` to float32 ``[n, 3, size, size]``, same device."""
    return pixels.permute(0, 3, 1, 2).float().div_(255.0)


def normalise(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Network input from images in [0, 1]: ``(x - mean) / std`` per channel, then the model's channel order.

    Operation by operation what `compat_sdk.images.preprocess.to_input` does on a device.

    Args:
        images: Float ``[n, 3, size, size]`` RGB in [0, 1].
        preprocessing: Mean and standard deviation (both R, G, B), and the channel order of the result.

    Returns:
        Float ``[n, 3, size, size]``.
    """
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    images = (images - mean) / std
    return images.flip(1) if preprocessing.channels == "bgr" else images


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        images: Float ``[n, 3, size, size]`` in [0, 1], the views, on the training device.
        labels: int64 ``[n]`` class numbers.
        index: int64 ``[n]`` rows of the training set, on the CPU.
        views: What was done to each image, so that another model can be shown the same.
        number: int64 ``[n]``, which of an image's views each is; 0 where they are endless.
        generator: The step's own generator, for whatever randomness the loss needs.
        step: Number of the step, from 0.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    views: Views
    number: Tensor
    generator: torch.Generator
    step: int


class Batches:
    """The training set as an endless, seeded, randomly accessible sequence of batches.

    Each epoch is one permutation of the set; the incomplete last batch is left out.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        batch: int,
        seed: int,
        augmentation: Augmentation,
        device: torch.device,
        mean: Sequence[float] | None = None,
        size: int | None = None,
    ) -> None:
        """Keeps the set as it is: nothing is copied.

        Args:
            pixels: uint8 ``[n, side, side, 3]`` RGB; may be memory-mapped.
            labels: int64 ``[n]``.
            batch: Images per step, at most n.
            seed: Source of all randomness.
            augmentation: Random views.
            device: Where the batches are made.
            mean: R, G, B in [0, 1] that normalisation subtracts; only cutout needs it.
            size: Side of the views where they are crops; that of the pixels if None.

        Raises:
            ConfigError: The batch is larger than the set.
        """
        if batch > len(pixels):
            raise ConfigError(
                f"batch is {batch} but the training split has only {len(pixels)} images; choose a batch of at "
                f"most {len(pixels)}"
            )
        self.steps_per_epoch = len(pixels) // batch
        self._pixels, self._labels = pixels, torch.from_numpy(labels)
        self._batch, self._seed, self._augmentation, self._device, self._mean = batch, seed, augmentation, device, mean
        self._size = size
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def _rows(self, step: int) -> Tensor:
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            generator = step_generator(self._seed, _ORDER, epoch)
            self._order = (epoch, torch.randperm(len(self._pixels), generator=generator))
        return self._order[1][place * self._batch : (place + 1) * self._batch]

    def at(self, step: int) -> Batch:
        """The batch of one step; the same step always gives the same batch."""
        rows = self._rows(step)
        generator = step_generator(self._seed, _VIEW, step)
        pixels = torch.from_numpy(np.ascontiguousarray(self._pixels[rows.numpy()]))
        images = unit_range(pixels.to(self._device))
        views, number = self._views(step, rows, generator)
        images = render(images, views, self._augmentation, size=self._size, mean=self._mean)
        return Batch(images, self._labels[rows].to(self._device), rows, views, number, generator, step)

    def _views(self, step: int, rows: Tensor, generator: torch.Generator) -> tuple[Views, Tensor]:
        """The views of a step, and the number of each."""
        if fixed := self._augmentation.fixed_views:
            number = step // self.steps_per_epoch % fixed
            return fixed_views(self._augmentation, number, rows.numpy()), torch.full_like(rows, number)
        views = step_views(len(rows), self._augmentation, generator)
        few = self._augmentation.views is not None
        return views, views.flipped.long() if few else torch.zeros_like(rows)

    def between(self, start: int, end: int) -> Iterator[tuple[int, Batch]]:
        """Steps ``start`` to ``end`` and their batches, each made while the one before it is used."""
        if start >= end:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            coming = pool.submit(self.at, start)
            for step in range(start, end):
                batch = coming.result()
                if step + 1 < end:
                    coming = pool.submit(self.at, step + 1)
                yield step, batch
