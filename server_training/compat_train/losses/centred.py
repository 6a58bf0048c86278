"""Regression to what tells a gallery model's vectors apart, rather than to what they all share.

The vectors of most pretrained networks fill a narrow cone: their mean is long, and a constant output has a high cosine
to every one of them. ``1 - cosine`` is nearly used up by that constant. Without the mean, what is left to learn is what
retrieval ranks by.

The mean is a constant of the whole gallery. Taking it off a vector is the first half of the whitening that retrieval
has long used: Jegou and Chum, Negative evidences and co-occurences in image retrieval, ECCV 2012.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from compat_train.losses.distill import embedding_regression_loss


def mean_vector(gallery_embeddings: Tensor) -> Tensor:
    """Mean of the unit vectors.

    Args:
        gallery_embeddings: ``[n, dim]``, any norm, n at least 1.

    Returns:
        float32 ``[dim]``, of a norm in [0, 1]: near 1 where all point one way, near 0 where they fill the sphere.
    """
    return F.normalize(gallery_embeddings.float()).mean(0)


def centred(gallery_embeddings: Tensor, mean: Tensor) -> Tensor:
    """Unit vectors without their mean: what a centred target is.

    Args:
        gallery_embeddings: ``[n, dim]``, any norm.
        mean: ``[dim]``, what `mean_vector` found.

    Returns:
        float32 ``[n, dim]``, of norms in [0, 2], not normalised.
    """
    return F.normalize(gallery_embeddings.float()) - mean


def centred_regression_loss(embeddings: Tensor, gallery_embeddings: Tensor, mean: Tensor) -> Tensor:
    """Mean of one minus the cosine between each embedding and the gallery model's, less the mean, of the same image.

    Source: Budnik and Avrithis, CVPR 2021, https://arxiv.org/abs/2006.16331, Eq. 6, on centred targets.

    Args:
        embeddings: ``[batch, dim]`` of the query model, any norm.
        gallery_embeddings: ``[batch, dim]`` of the gallery model, any norm. Treated as a constant.
        mean: ``[dim]``, of the gallery model's unit vectors over the training images. Treated as a constant.

    Returns:
        Scalar in [0, 2].
    """
    return embedding_regression_loss(embeddings, centred(gallery_embeddings, mean).detach())
