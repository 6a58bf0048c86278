"""Darwinian Model Upgrades: how much each image's old embedding is worth inheriting.

    L_SBC = sum over the batch of weight(x) * loss(x; new embedding, old classifier)        (Eq. 10)

The weights sum to 1 over the batch, so equal weights are BCT's mean. Two properties of the printed weights
(1 - softmax(entropy)) / (batch - 1) matter in practice. Eq. 9 puts no scale on the logits: with unit vectors they lie
in [-1, 1], every entropy is close to ln(classes), and the weights are nearly equal: with 500 classes and a batch of 64,
from clear to hopeless embeddings, they differ by less than one part in ten thousand. And however sharp the softmax is
made, no weight exceeds 1 / (batch - 1): it can drop the worst image of a batch, never prefer the best one. A scale on
the logits and a temperature are the knobs for the first; `certainty_weights` has neither limit.

Source: Zhang et al., Darwinian Model Upgrades, AAAI 2023, https://arxiv.org/abs/2210.06954, section 3.3. Its Algorithm
1 takes the new classifier in L_SBC and computes the new embeddings without gradient; the equations, which this follows,
take the old classifier.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy of the class probabilities of each row: Eq. 9.

    Args:
        logits: ``[batch, classes]``, any scale.

    Returns:
        float32 ``[batch]`` in nats, in [0, ln(classes)]; small where one class stands out.
    """
    log_probabilities = torch.log_softmax(logits.float(), dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)


def entropy_weights(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """The printed weights: ``(1 - softmax(entropy / temperature)) / (batch - 1)``, Eq. 10.

    Args:
        logits: ``[batch, classes]`` of the old model under the old classifier, at least two rows. Treated as a
            constant.
        temperature: Of the softmax over the batch, above 0; 1 in the paper.

    Returns:
        float32 ``[batch]`` in [0, 1 / (batch - 1)], sum 1.

    Raises:
        ValueError: There is one row, for which Eq. 10 divides by zero.
    """
    if len(logits) < 2:
        raise ValueError(f"found a batch of {len(logits)}; weights by entropy need at least 2 images")
    share = torch.softmax(prediction_entropy(logits.detach()) / temperature, dim=0)
    return (1.0 - share) / (len(logits) - 1)


def least_confidence_weights(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Softmax over the batch of the probability that the old model gives the true class: Eq. 13.

    Args:
        logits: ``[batch, classes]`` of the old model under the old classifier. Treated as a constant.
        labels: ``[batch]`` int64, row of the true class; -1 where the old classifier has none, which counts as
            probability 0.
        temperature: Of the softmax over the batch, above 0; 1 in the paper.

    Returns:
        float32 ``[batch]`` in [0, 1], sum 1.
    """
    probabilities = torch.softmax(logits.detach().float(), dim=1)
    true = probabilities.gather(1, labels.clamp_min(0)[:, None])[:, 0] * (labels >= 0)
    return torch.softmax(true / temperature, dim=0)


def adaptation_regression_loss(adapted: Tensor, embeddings: Tensor) -> Tensor:
    """Mean of one minus the cosine between each adapted old embedding and the new model's own: Eq. 14 in Eq. 11.

    Eq. 8 is minimised over the new model too, so that both sides have a gradient; the new model's own loss keeps them
    from agreeing on one point.

    Args:
        adapted: ``[batch, dim]`` of psi, any norm.
        embeddings: ``[batch, dim]`` of the new model for the same images, any norm.

    Returns:
        Scalar in [0, 2].
    """
    return 1.0 - F.cosine_similarity(adapted.float(), embeddings.float()).mean()


def certainty_weights(logits: Tensor) -> Tensor:
    """Weights in proportion to ``1 - entropy / ln(classes)``: how far each prediction is from a guess.

    Not in the paper: the direct reading of its aim, without the softmax over the batch whose range is narrow.

    Args:
        logits: ``[batch, classes]`` of the old model under the old classifier, at least two classes. Treated as a
            constant.

    Returns:
        float32 ``[batch]`` in [0, 1], sum 1; equal where every prediction is a guess.
    """
    certainty = (1.0 - prediction_entropy(logits.detach()) / math.log(logits.shape[1])).clamp_min(1e-6)
    return certainty / certainty.sum()
