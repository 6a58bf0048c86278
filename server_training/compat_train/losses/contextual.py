"""The neighbourhood of an image, as the query model must draw it: how similar it is to the images of a bank.

Source: Wu, Wang, Zhou, Li and Tian, Contextual Similarity Distillation for Asymmetric Image Retrieval, CVPR 2022. There
the bank of an image is its nearest neighbours among quantised training images; here it is one bank for all images, as
are the anchors of the authors' later Structure Similarity Preservation, https://arxiv.org/abs/2403.00648.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from compat_train.losses.margin import cosine_logits


def contextual_similarity_loss(
    embeddings: Tensor,
    gallery_embeddings: Tensor,
    bank: Tensor,
    *,
    temperature: float = 0.05,
    gallery_temperature: float = 0.05,
) -> Tensor:
    """Divergence of the query model's distribution over a bank from the gallery model's.

    Each distribution is the softmax of the cosines between one image's vector and the vectors of the bank, which are
    the gallery model's on both sides.

    Args:
        embeddings: ``[batch, dim]`` of the query model, any norm.
        gallery_embeddings: ``[batch, dim]`` of the gallery model for the same images, any norm. Treated as a constant.
        bank: ``[rows, dim]`` of the gallery model for other images, any norm, at least two rows. Treated as a constant.
        temperature: Divides the query model's cosines, above 0.
        gallery_temperature: Divides the gallery model's cosines, above 0; the smaller, the fewer neighbours count.

    Returns:
        Scalar mean over the batch, in nats, at least 0; 0 when the distributions agree.
    """
    bank = bank.detach()
    wanted = F.log_softmax(cosine_logits(gallery_embeddings.detach(), bank) / gallery_temperature, dim=1)
    found = F.log_softmax(cosine_logits(embeddings, bank) / temperature, dim=1)
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")
