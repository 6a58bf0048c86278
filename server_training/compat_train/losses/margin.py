"""Classification losses on the unit sphere: cosine margin, angular margin and normalised softmax."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_logits(embeddings: Tensor, classifier: Tensor) -> Tensor:
    """Cosine between each embedding and each class weight.

    Args:
        embeddings: ``[batch, dim]``, any norm; the product is made in float32, also inside autocast, since the margin
            is lost in bfloat16.
        classifier: ``[classes, dim]``, one weight row per class, any norm.

    Returns:
        ``[batch, classes]`` in [-1, 1].
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        return F.linear(F.normalize(embeddings.float()), F.normalize(classifier.float()))


def cosine_margin_loss(
    embeddings: Tensor,
    classifier: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.4,
    scale: float = 64.0,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Cross-entropy after the cosine of the true class has been lowered by a margin.

    The margin asks each embedding to be closer to its own class weight than to any other by a fixed
    amount of cosine, which is what retrieval of unseen classes needs.

    Source: Wang et al., CosFace, CVPR 2018, https://arxiv.org/abs/1801.09414, Eq. 4; margin 0.4 is seed
    000's, section 4.2.

    Args:
        embeddings: ``[batch, dim]``, any norm.
        classifier: ``[classes, dim]``, any norm. Pass ``.detach()`` to hold it constant.
        labels: ``[batch]`` int64 in ``[0, classes)``.
        margin: Subtracted from the true class's cosine, in cosine units.
        scale: Factor on the cosines before the softmax, above 0.
        reduction: "none" for the losses ``[batch]`` one by one.

    Returns:
        Scalar mean loss over the batch, in nats, at least 0.
    """
    logits = cosine_logits(embeddings, classifier)
    lowered = torch.zeros_like(logits).scatter_(1, labels[:, None], margin)
    return F.cross_entropy(scale * (logits - lowered), labels, reduction=reduction)


def angular_margin_loss(
    embeddings: Tensor,
    classifier: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Cross-entropy after the angle to the true class has been widened by a margin.

    The margin is the same arc wherever the embedding stands, while a margin on the cosine is a wide arc near the
    class weight and a narrow one beside it. As a cosine, that arc is worth least near the class weight and, by the
    formula, opposite to it as well: an untrained network lowers its loss by turning every embedding away from every
    class weight, and stays there (kanji, 150 classes, margin 0.3, two seeds: all true cosines at -0.96 after two
    epochs, 10 and 13 % of the images under their class; with what follows 43 and 47 %). So beyond a right angle the
    cosine falls by ``sin(margin)``, what it falls by at the right angle; up to there the loss is the paper's.

    Source: Deng et al., ArcFace, CVPR 2019, https://arxiv.org/abs/1801.07698, Eq. 3 (its public code departs from it
    for angles above ``pi - margin``, too late for this); Eq. 1 of DMU, with margin 0.3 and scale 30 for landmarks,
    0.5 and 64 for faces.

    Args:
        embeddings: ``[batch, dim]``, any norm.
        classifier: ``[classes, dim]``, any norm. Pass ``.detach()`` to hold it constant.
        labels: ``[batch]`` int64 in ``[0, classes)``.
        margin: Added to the angle to the true class, in radians, in [0, pi / 2].
        scale: Factor on the cosines before the softmax, above 0.
        reduction: "none" for the losses ``[batch]`` one by one.

    Returns:
        Scalar mean loss over the batch, in nats, at least 0.
    """
    logits = cosine_logits(embeddings, classifier)
    true = logits.gather(1, labels[:, None])
    # The slope of the sine is infinite where the angle is 0 or pi; the bound keeps it, and so the gradient, finite.
    sine = (1.0 - true * true).clamp_min(1e-6).sqrt()
    widened = true * math.cos(margin) - sine * math.sin(margin)
    lowered = torch.where(true > 0, widened, true - math.sin(margin))
    return F.cross_entropy(scale * logits.scatter(1, labels[:, None], lowered), labels, reduction=reduction)


def norm_softmax_loss(
    embeddings: Tensor,
    classifier: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.05,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Cross-entropy over cosines divided by a temperature.

    Source: Zhai and Wu, BMVC 2019, https://arxiv.org/abs/1811.12649, Eq. 2 (temperature 0.05 there; seed
    000 states 0.5 for its fashion gallery model, section 4.2).

    Args:
        embeddings: ``[batch, dim]``, any norm.
        classifier: ``[classes, dim]``, any norm.
        labels: ``[batch]`` int64 in ``[0, classes)``.
        temperature: Divides the cosines, above 0.
        reduction: "none" for the losses ``[batch]`` one by one.

    Returns:
        Scalar mean loss over the batch, in nats, at least 0.
    """
    return cosine_margin_loss(embeddings, classifier, labels, margin=0.0, scale=1.0 / temperature, reduction=reduction)
