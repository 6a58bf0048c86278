"""Classification losses on the unit sphere: cosine margin and normalised softmax."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_logits(embeddings: Tensor, classifier: Tensor) -> Tensor:
    """Cosine between each embedding and each class weight.

    Args:
        embeddings: ``[batch, dim]``, any norm; cast to float32 here, since the margin is lost in bfloat16.
        classifier: ``[classes, dim]``, one weight row per class, any norm.

    Returns:
        ``[batch, classes]`` in [-1, 1].
    """
    return F.linear(F.normalize(embeddings.float()), F.normalize(classifier.float()))


def cosine_margin_loss(
    embeddings: Tensor, classifier: Tensor, labels: Tensor, *, margin: float = 0.4, scale: float = 64.0
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

    Returns:
        Scalar mean loss over the batch, in nats, at least 0.
    """
    logits = cosine_logits(embeddings, classifier)
    lowered = torch.zeros_like(logits).scatter_(1, labels[:, None], margin)
    return F.cross_entropy(scale * (logits - lowered), labels)


def norm_softmax_loss(embeddings: Tensor, classifier: Tensor, labels: Tensor, *, temperature: float = 0.05) -> Tensor:
    """Cross-entropy over cosines divided by a temperature.

    Source: Zhai and Wu, BMVC 2019, https://arxiv.org/abs/1811.12649, Eq. 2 (temperature 0.05 there; seed
    000 states 0.5 for its fashion gallery model, section 4.2).

    Args:
        embeddings: ``[batch, dim]``, any norm.
        classifier: ``[classes, dim]``, any norm.
        labels: ``[batch]`` int64 in ``[0, classes)``.
        temperature: Divides the cosines, above 0.

    Returns:
        Scalar mean loss over the batch, in nats, at least 0.
    """
    return cosine_margin_loss(embeddings, classifier, labels, margin=0.0, scale=1.0 / temperature)
