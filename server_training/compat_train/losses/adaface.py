"""AdaFace: a margin that follows the quality of each image, told by the length of its embedding.

Clear images make long embeddings, and hopeless ones short. With the quality q in [-1, 1] of an image its true cosine
becomes ``cos(angle - margin * q) - margin * (1 + q)``: at q = -1 that is ArcFace's margin, at 0 CosFace's, and at 1
hard clear images weigh most, so that hard images that nobody could tell do not.

Source: Kim et al., AdaFace, CVPR 2022, https://arxiv.org/abs/2204.00964, Eq. 15 to 19, and its public code for what
the text leaves open: lengths are cut to [0.001, 100] and have no gradient; the standard deviation is that of a sample;
statistics move by 0.01 a step from a mean of 20 and a deviation of 100, and a batch counts in its own; cosines and
angles keep 0.001 from their ends. The class of that code has 1 for the 0.01 and its command line 0 for the
concentration: its training scripts set 0.333, margin 0.4 and scale 64.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from compat_train.losses.margin import cosine_logits

_EDGE = 1e-3
_SHORTEST, _LONGEST = 1e-3, 100.0


def embedding_lengths(embeddings: Tensor) -> Tensor:
    """Lengths ``[batch]`` of embeddings ``[batch, dim]``, cut to [0.001, 100], float32, without gradient."""
    lengths: Tensor = torch.linalg.vector_norm(embeddings.detach().float(), dim=1)
    return lengths.clamp(_SHORTEST, _LONGEST)


def image_quality(lengths: Tensor, mean: Tensor, deviation: Tensor, *, concentration: float = 0.333) -> Tensor:
    """How long each embedding is among those of late.

    Args:
        lengths: ``[batch]``, output of `embedding_lengths`.
        mean: Scalar, of lengths.
        deviation: Scalar, their standard deviation.
        concentration: Quality of a length of one deviation above the mean, at least 0.

    Returns:
        ``[batch]`` in [-1, 1].
    """
    return (concentration * (lengths - mean) / (deviation + _EDGE)).clamp(-1.0, 1.0)


def adaptive_margin_loss(
    embeddings: Tensor,
    classifier: Tensor,
    labels: Tensor,
    quality: Tensor | None = None,
    *,
    margin: float = 0.4,
    scale: float = 64.0,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Cross-entropy after the cosine of the true class has been lowered as the quality of the image allows.

    Args:
        embeddings: ``[batch, dim]``, any norm.
        classifier: ``[classes, dim]``, any norm. Pass ``.detach()`` to hold it constant.
        labels: ``[batch]`` int64 in ``[0, classes)``.
        quality: ``[batch]`` in [-1, 1], output of `image_quality`; None for 0, which is CosFace's margin.
        margin: Of angle and cosine alike, in [0, 1].
        scale: Factor on the cosines before the softmax, above 0.
        reduction: "none" for the losses ``[batch]`` one by one.

    Returns:
        Scalar mean loss over the batch, in nats, at least 0.
    """
    logits = cosine_logits(embeddings, classifier).clamp(_EDGE - 1.0, 1.0 - _EDGE)
    told = torch.zeros(len(logits), device=logits.device) if quality is None else quality
    angles = logits.gather(1, labels[:, None])[:, 0].acos()
    turned = (angles - margin * told).clamp(_EDGE, math.pi - _EDGE).cos()
    lowered = turned - margin * (1.0 + told)
    return F.cross_entropy(scale * logits.scatter(1, labels[:, None], lowered[:, None]), labels, reduction=reduction)
