"""Metric learning with the query model at one end of each pair and the gallery model at the other."""

from __future__ import annotations

from torch import Tensor

from compat_train.losses.margin import cosine_logits


def asymmetric_contrastive_loss(
    embeddings: Tensor, gallery_embeddings: Tensor, labels: Tensor, *, margin: float = 0.5
) -> Tensor:
    """Draws anchors to the gallery model's vectors of their label, and pushes them from those of others.

    The anchor is the query model's vector, positives and negatives are the gallery model's. An image's own vector is
    one of its positives, which is the regression that the paper adds. Each anchor's positives count by their mean, and
    so do its negatives, whatever their number.

    Source: Budnik and Avrithis, Asymmetric metric learning for knowledge transfer, CVPR 2021,
    https://arxiv.org/abs/2006.16331, section 3: contrastive loss under the asymmetric similarity.

    Args:
        embeddings: ``[batch, dim]`` of the query model, any norm.
        gallery_embeddings: ``[batch, dim]`` of the gallery model for the same images, any norm. Treated as a constant.
        labels: int64 ``[batch]``; without labels the numbers of the images, so that each is a label of its own.
        margin: Cosine up to which a negative costs nothing, in [-1, 1].

    Returns:
        Scalar mean over the batch, in [0, 3 - margin].
    """
    cosines = cosine_logits(embeddings, gallery_embeddings.detach())
    same = labels[:, None] == labels[None, :]
    positives = ((1.0 - cosines) * same).sum(1) / same.sum(1)
    negatives = ((cosines - margin).clamp_min(0.0) * ~same).sum(1) / (~same).sum(1).clamp_min(1)
    return (positives + negatives).mean()
