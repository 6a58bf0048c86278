"""A classifier of which each step sees and moves a part: Partial FC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from compat_train.data.batches import step_generator
from compat_train.losses.partial import sampled_classes, sampling_rate
from compat_train.optimiser import Part

_CLASSES, _FROZEN = 4, 5


class SampledClassifier:
    """The trained class weights, as the loss of each step takes them.

    Class weights that a step did not draw keep their values and their momentum, and do not decay, as in the paper's
    code. No array of a step is as large as the classifier, but for one random number for each class.
    """

    def __init__(self, classifier: nn.Linear, rate: float | None, seed: int) -> None:
        """Keeps the weights, which the optimiser has too.

        Args:
            classifier: Weights ``[classes, dim]``, one row for each class.
            rate: Share of the classes that a step draws, in (0, 1]; see `sampling_rate`.
            seed: Of the training: step and seed decide the draw, in every process of it.
        """
        self._weight, self._seed = cast(nn.Parameter, classifier.weight), seed
        self._rate = sampling_rate(rate, len(self._weight))
        self._drawn: tuple[int, Tensor, Tensor] | None = None

    def of(self, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Class weights of a step ``[m, dim]``, and for each label its row among them.

        Args:
            labels: int64 ``[n]``, class numbers of the batch.
            step: Number of the step.
        """
        if self._rate == 1:
            return self._weight, labels
        if self._drawn is None or self._drawn[0] != step:
            generator = step_generator(self._seed, _CLASSES, step)
            rows = sampled_classes(labels, len(self._weight), self._rate, generator)
            self._drawn = step, rows, self._weight.detach()[rows].requires_grad_()
        _, rows, drawn = self._drawn
        return drawn, torch.searchsorted(rows, labels)

    def moved(self, step: int) -> Iterator[Part]:
        """The part that an optimiser's step may move, once gradients are there."""
        if self._drawn is not None and self._drawn[0] == step:
            _, rows, drawn = self._drawn
            yield self._weight, (rows,), drawn.grad


def sampled_frozen(
    classifier: Tensor, targets: Tensor, rate: float | None, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """A part of a frozen classifier, drawn as a step draws its own, and for each target its row among them.

    Args:
        classifier: ``[rows, dim]``.
        targets: int64 ``[n]``, rows of it.
        rate: Share of its rows, in (0, 1]; see `sampling_rate`.
        seed: Of the training.
        step: Number of the step.
    """
    share = sampling_rate(rate, len(classifier))
    if share == 1:
        return classifier, targets
    rows = sampled_classes(targets, len(classifier), share, step_generator(seed, _FROZEN, step))
    return classifier[rows], torch.searchsorted(rows, targets)
