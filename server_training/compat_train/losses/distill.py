"""Losses that carry the gallery model's outputs over to the query model."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def knowledge_distillation_loss(
    logits: Tensor,
    gallery_logits: Tensor,
    *,
    temperature: float = 4.0,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Divergence of the softened query distribution from the softened gallery distribution.

    Source: Hinton et al., 2015, https://arxiv.org/abs/1503.02531, section 2; the second term of CMP-NAS,
    Eq. 1, for the method "knowledge distillation". The factor temperature² keeps the gradient's size.

    Args:
        logits: ``[batch, classes]`` of the query model.
        gallery_logits: ``[batch, classes]`` of the gallery model for the same images and the same order
            of classes. Treated as a constant.
        temperature: Divides both logits, above 0.
        reduction: "none" for the losses ``[batch]`` one by one.

    Returns:
        Scalar mean over the batch, in nats times temperature², at least 0; 0 when the distributions agree.
    """
    target = F.log_softmax(gallery_logits.detach().float() / temperature, dim=1)
    found = F.log_softmax(logits.float() / temperature, dim=1)
    if reduction == "none":
        return F.kl_div(found, target, log_target=True, reduction="none").sum(1) * temperature**2
    return F.kl_div(found, target, log_target=True, reduction="batchmean") * temperature**2


def embedding_regression_loss(
    embeddings: Tensor, gallery_embeddings: Tensor, *, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Mean of one minus the cosine between each embedding and the gallery model's for the same image.

    On the unit sphere this is half the squared distance, the regression of Budnik and Avrithis. It needs no
    labels, so it also holds on images of no class at all.

    Source: Budnik and Avrithis, CVPR 2021, https://arxiv.org/abs/2006.16331, Eq. 6 (reference [3] of CMP-NAS).

    Args:
        embeddings: ``[batch, dim]`` of the query model, any norm.
        gallery_embeddings: ``[batch, dim]`` of the gallery model, any norm. Treated as a constant.
        reduction: "none" for the losses ``[batch]`` one by one.

    Returns:
        Scalar in [0, 2].
    """
    cosines = F.cosine_similarity(embeddings.float(), gallery_embeddings.detach().float())
    return 1.0 - (cosines if reduction == "none" else cosines.mean())
