"""Networks from an old embedding to one in a new model's space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from compat_sdk.errors import ConfigError
from compat_train.models.cost import Cost


class ForwardTransform(nn.Module):
    """FCT's transform h: a branch for the old embedding, one for the side-information, and a mixer of both.

    Every layer but the last is followed by batch norm and ReLU and has no bias; the last has a bias and nothing
    after it. Where there is no side-information the paper feeds zeros, and so does this network (its code feeds the
    old embedding again).

    Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805, section 4
    and its public code for the widths.

    Args:
        old: Numbers per old embedding.
        side: Numbers of side-information; None where there is none, and the side branch sees zeros in the shape of
            the old embedding.
        new: Numbers per new embedding.
        hidden: Width of the mixer.
    """

    def __init__(self, old: int = 128, side: int | None = 128, new: int = 128, hidden: int = 2048) -> None:
        super().__init__()
        self.takes_side = side is not None
        width = old if side is None else side
        self.of_old = _layers((old, 2 * old, 2 * new))
        self.of_side = _layers((width, 2 * width, 2 * new))
        self.mixer = _layers((4 * new, hidden, hidden))
        self.head = nn.Linear(hidden, new)

    def forward(self, old: Tensor, side: Tensor | None = None) -> Tensor:
        """New embeddings ``[n, new]``, not normalised, from ``[n, old]`` and ``[n, side]``.

        Raises:
            ConfigError: Side-information is missing, or given to a transform that takes none.
        """
        if self.takes_side != (side is not None):
            expected, found = ("old and side", "old alone") if self.takes_side else ("old alone", "old and side")
            raise ConfigError(f"this transform takes {expected}, found {found}; pass what it was made for")
        # A product, because every converter has one; zeros_like of a free batch is not everywhere.
        both = torch.cat((self.of_old(old), self.of_side(0 * old if side is None else side)), 1)
        embeddings: Tensor = self.head(self.mixer(both))
        return embeddings


class ForwardAdaptation(nn.Module):
    """DMU's adaptation psi: three hidden layers with batch norm and ReLU, and one more.

    Source: Zhang et al., Darwinian Model Upgrades, AAAI 2023, https://arxiv.org/abs/2210.06954, section 4.1.

    Args:
        old: Numbers per old embedding.
        new: Numbers per new embedding.
        hidden: Width of the hidden layers.
    """

    def __init__(self, old: int = 1024, new: int = 1024, hidden: int = 1024) -> None:
        super().__init__()
        self.layers = _layers((old, hidden, hidden, hidden), bias=True)
        self.head = nn.Linear(hidden, new)

    def forward(self, old: Tensor) -> Tensor:
        """New embeddings ``[n, new]``, not normalised, from ``[n, old]``."""
        embeddings: Tensor = self.head(self.layers(old))
        return embeddings


def transform_cost(transform: nn.Module) -> Cost:
    """What one vector takes, by the convention of `compat_train.models.cost`: every layer is called once."""
    linear = [layer for layer in transform.modules() if isinstance(layer, nn.Linear)]
    norms = [layer for layer in transform.modules() if isinstance(layer, nn.BatchNorm1d)]
    multiply_adds = sum(layer.weight.numel() for layer in linear)
    return Cost(
        mmacs=multiply_adds / 1e6,
        mmacs_paper=(multiply_adds + 2 * sum(layer.num_features for layer in norms)) / 1e6,
        params_m=sum(parameter.numel() for parameter in transform.parameters()) / 1e6,
    )


def _layers(widths: Sequence[int], *, bias: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out, bias=bias), nn.BatchNorm1d(width_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
