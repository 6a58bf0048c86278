"""Networks as they are exported: with the L2 normalisation after them, so that every engine gives unit vectors.

One class per signature, because converters read the names of the inputs from ``forward``.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from compat_train.models.layers import fold_batch_norms

_SMALLEST_NORM = 1e-12
"""Norms are clamped to this before dividing, as ``torch.nn.functional.normalize`` does."""


def _unit_rows(vectors: Tensor) -> Tensor:
    """The rows divided by their lengths, ``[n, dim]``; a row of zeros stays one."""
    # Spelt out rather than F.normalize: the same arithmetic without a Shape and an Expand in the graph.
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / norm.clamp_min(_SMALLEST_NORM)


class UnitEmbedder(nn.Module):
    """An embedder followed by L2 normalisation.

    Args:
        network: Module from float32 ``[n, 3, s, s]`` to float32 ``[n, dim]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Unit embeddings, float32 ``[n, dim]``, of prepared images, float32 ``[n, 3, s, s]``."""
        return _unit_rows(self.network(image))


class UnitTransform(nn.Module):
    """A transform of old embeddings followed by L2 normalisation.

    Args:
        network: Module from float32 ``[n, old]`` to float32 ``[n, dim]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, old: Tensor) -> Tensor:
        """Unit embeddings in the new space, float32 ``[n, dim]``, of old ones, float32 ``[n, old]``."""
        return _unit_rows(self.network(old))


class UnitTransformWithSide(nn.Module):
    """A transform of old embeddings and side-information followed by L2 normalisation.

    Args:
        network: Module from float32 ``[n, old]`` and ``[n, side]`` to float32 ``[n, dim]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, old: Tensor, side: Tensor) -> Tensor:
        """Unit embeddings in the new space, float32 ``[n, dim]``, of float32 ``[n, old]`` and ``[n, side]``."""
        return _unit_rows(self.network(old, side))


def without_in_place(network: nn.Module) -> nn.Module:
    """The network, whose activations no longer write over their inputs; it computes the same.

    To trace what writes in place takes torch.export twice as long: its mutations have to be found and undone.
    """
    for layer in network.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment]
    return network


Unit = UnitEmbedder | UnitTransform | UnitTransformWithSide
"""A network and the normalisation after it."""


def half_inside(module: Unit) -> Unit:
    """A copy that computes in float16 but for its inputs, its output and the normalisation.

    A norm above 256 overflows a float16 sum of squares, so the normalisation stays float32. Batch norms are folded
    first: their variances, and what enters them, may be beyond float16, where what leaves them is of the order of 1.
    """
    return type(module)(_HalfInside(fold_batch_norms(copy.deepcopy(module.network)).half()))


class _HalfInside(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        embedding: Tensor = self.network(*(given.half() for given in inputs))
        return embedding.float()
