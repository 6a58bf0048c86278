"""Focal distillation: a new model says what the old one says, above all of images that the old one told right."""

from __future__ import annotations

from torch import Tensor

from compat_train.losses.distill import knowledge_distillation_loss


def focal_distillation_loss(
    logits: Tensor,
    old_logits: Tensor,
    right: Tensor,
    *,
    base: float = 1.0,
    extra: float = 5.0,
    temperature: float = 100.0,
) -> Tensor:
    """Divergence from the old model's class probabilities, weighted by ``base + extra * right``.

    The paper is about classifiers whose answers flip, and distils the new model's own logits. DMU compares with it as
    a compatible method (its Table 8, FD) and does not say how; for that, take both logits under the old model's frozen
    classifier, which draws the new embeddings to where the old ones lie.

    Source: Yan et al., Positive-Congruent Training, CVPR 2021, https://arxiv.org/abs/2011.09161, focal distillation
    with the KL divergence; weights 1 and 5 and temperature 100 there.

    Args:
        logits: ``[batch, classes]`` of the new model.
        old_logits: ``[batch, classes]`` of the old model for the same images. Treated as a constant.
        right: bool ``[batch]``, whether the old model's greatest logit is that of the true class.
        base: Weight of every image, at least 0.
        extra: Weight on top of it for those that were told right, at least 0.
        temperature: Divides both logits, above 0; the greater, the nearer to a squared difference of logits.

    Returns:
        Scalar mean over the batch, in nats times temperature², at least 0; 0 when the logits agree.
    """
    apart = knowledge_distillation_loss(logits, old_logits, temperature=temperature, reduction="none")
    return ((base + extra * right) * apart).mean()
