"""A softmax over a part of the classes: Partial FC, for training sets of millions of identities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MILLION = 1_000_000


def sampling_rate(told: float | None, classes: int) -> float:
    """Share of the classes that a step looks at, in (0, 1].

    Args:
        told: The setting; None takes every class up to a million, and the paper's 0.1 above.
        classes: How many there are.
    """
    return told if told is not None else 1.0 if classes <= _MILLION else 0.1


def sampled_classes(labels: Tensor, classes: int, rate: float, generator: torch.Generator) -> Tensor:
    """Every class of a batch, and others drawn uniformly up to a share of all.

    The softmax over them keeps the batch's own class weights, so that attraction is exact; repulsion is by a random
    part of the others. At rate 1 they are all classes, and the loss is the full softmax.

    Source: An et al., Killing Two Birds with One Stone, CVPR 2022, https://arxiv.org/abs/2203.15565, section 3.2.

    Args:
        labels: int64 ``[n]`` in ``[0, classes)``.
        classes: How many there are.
        rate: Share of the classes, in (0, 1]. A batch of more classes than that keeps all of its own, and no other.
        generator: CPU generator of the draw.

    Returns:
        int64 ``[m]``, ascending, on the device of ``labels``; m is ``ceil(rate * classes)``, or the number of classes
        in the batch where these are more.
    """
    own = torch.unique(labels)
    count = max(math.ceil(rate * classes), len(own))
    if count == classes:
        return torch.arange(classes, device=labels.device)
    # Drawn on the CPU, so that every device and every process has the same.
    order = torch.rand(classes, generator=generator)
    order[own.cpu()] = 2.0
    return order.topk(count, sorted=False).indices.sort().values.to(labels.device)
