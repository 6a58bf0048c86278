"""UniBCT's rows of the old classifier: class means after the old embeddings have walked over their class's graph.

The old model is weak, so that some images of a class lie far from the others. Each embedding is replaced by what a
walk from it finds, which goes on to an image of the same class by its similarity with probability ``damping`` and
ends otherwise. Images that no other is near are found by no walk but their own: they hardly move the mean.

Source: Zhang et al., Towards Universal Backward-Compatible Representation Learning, IJCAI 2022,
https://arxiv.org/abs/2203.01583, structural prototype refinement. Its text was not at hand for the two constants: the
defaults here are ours. The public code of AdvBCT has plain class means under the same name.
"""

from __future__ import annotations

import torch
from torch import Tensor


def refined_prototypes(
    embeddings: Tensor, labels: Tensor, classes: int, *, damping: float = 0.5, temperature: float = 0.1
) -> Tensor:
    """Mean of each class's embeddings after the walk, all steps of it in closed form.

    Args:
        embeddings: ``[n, dim]`` of the old model on the new training images, unit norm.
        labels: int64 ``[n]`` in ``[0, classes)``.
        classes: Number of classes.
        damping: Probability of another step, in [0, 1); 0 gives the plain class means.
        temperature: Of the softmax over cosines to the class's other images, above 0.

    Returns:
        ``[classes, dim]``, not normalised; zero for a class without images. The largest class takes the square of its
        images in memory, twice.
    """
    order = torch.argsort(labels, stable=True)
    groups = torch.split(embeddings[order].float(), torch.bincount(labels, minlength=classes).tolist())
    return torch.stack([_shares(group, damping, temperature) @ group for group in groups])


def _shares(group: Tensor, damping: float, temperature: float) -> Tensor:
    """How much each image of a class counts in its mean: ``[n]``, sum 1 unless there are none."""
    count = len(group)
    start = torch.full((count,), 1.0 / max(1, count), device=group.device)
    if count <= 1:
        return start
    near = (group @ group.T / temperature).fill_diagonal_(-torch.inf)
    # mean of (1 - damping) * (I - damping * walk)^-1 * group, by its weights: one system in place of dim.
    system = torch.eye(count, device=group.device) - damping * torch.softmax(near, dim=1).T
    shares: Tensor = torch.linalg.solve(system, (1.0 - damping) * start)
    return shares
