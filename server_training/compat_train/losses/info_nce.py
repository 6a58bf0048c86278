"""Which of many gallery vectors is this image's own?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compat_train.losses.margin import cosine_logits


def cross_model_info_nce_loss(
    embeddings: Tensor,
    gallery_embeddings: Tensor,
    bank: Tensor | None = None,
    own_rows: Tensor | None = None,
    *,
    temperature: float = 0.05,
) -> Tensor:
    """Cross-entropy of finding the gallery model's vector of the same image among those of others.

    The query model's vector is the query, the gallery model's of the same image the positive, and those of the rest of
    the batch and of the bank the negatives: the search of instances, as a loss.

    Source: van den Oord, Li and Vinyals, 2018, https://arxiv.org/abs/1807.03748, Eq. 4, with the cosine over a
    temperature in place of the bilinear score, and the two sides of a pair by two models.

    Args:
        embeddings: ``[batch, dim]`` of the query model, any norm.
        gallery_embeddings: ``[batch, dim]`` of the gallery model for the same images, any norm. Treated as a constant.
        bank: ``[rows, dim]`` of the gallery model for more images, any norm. Treated as a constant. None: the batch
            alone.
        own_rows: int64 ``[batch]``, row of the bank that shows the same image and so is no negative; -1 for none. None:
            no row does.
        temperature: Divides the cosines, above 0.

    Returns:
        Scalar mean over the batch, in nats, at least 0.
    """
    count = len(embeddings)
    logits = cosine_logits(embeddings, gallery_embeddings.detach()) / temperature
    if bank is not None:
        more = cosine_logits(embeddings, bank.detach()) / temperature
        if own_rows is not None:
            own = torch.arange(len(bank), device=more.device) == own_rows[:, None]
            more = more.masked_fill(own, float("-inf"))
        logits = torch.cat((logits, more), 1)
    return F.cross_entropy(logits, torch.arange(count, device=logits.device))
