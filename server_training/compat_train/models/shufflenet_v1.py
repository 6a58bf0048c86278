"""ShuffleNetV1 with one group: residual bottlenecks around a depthwise convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise

_REPEATS = (4, 8, 4)


def _bottleneck(channels_in: int, hidden: int, channels_out: int, stride: int) -> nn.Sequential:
    # No activation after the depthwise convolution: the paper's figure 2 has none there.
    return nn.Sequential(
        ConvBN(channels_in, hidden),
        ConvBN(hidden, hidden, 3, stride=stride, groups=hidden, activation=None),
        ConvBN(hidden, channels_out, activation=None),
    )


class ResidualUnit(nn.Module):
    """Unit of stride 1: the bottleneck is added to its input.

    Args:
        channels: Channels in and out, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _bottleneck(channels, channels // 4, channels, 1)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels, h, w]`` to the same shape."""
        output: Tensor = self.activation(features + self.branch(features))
        return output


class PoolingUnit(nn.Module):
    """Unit of stride 2: the average-pooled input passes, and the bottleneck fills the channels that are missing.

    Args:
        channels_in: Input channels, fewer than ``channels_out``.
        channels_out: Output channels, a multiple of 4.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        # The zeros of the padding count as pixels, which makes it a pad and a plain pool for any converter.
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1)
        self.branch = _bottleneck(channels_in, channels_out // 4, channels_out - channels_in, 2)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / 2, w / 2]``."""
        output: Tensor = self.activation(torch.cat((self.shortcut(features), self.branch(features)), 1))
        return output


class ShuffleNetV1(nn.Module):
    """ShuffleNetV1 1x with one group, from images to embeddings that are not normalised.

    With one group the 1x1 convolutions see all channels, and the channel shuffle that gives the network its
    name is the identity: it is left out. The classifier is replaced by a linear layer to the embedding.

    Source: Zhang et al., CVPR 2018, https://arxiv.org/abs/1707.01083, figure 2 (b, c) and table 1 (g = 1).

    Args:
        dim: Length of the embedding.
        width: Multiplier of all channel counts. Those of the first stage are rounded to multiples of 4 and
            double from stage to stage; those of the stem are rounded to multiples of 2.
        stem_stride: Stride of the first convolution: the paper's 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
        super().__init__()
        # Granularities 2 and 4 leave the first bottleneck a channel to fill at any width.
        channels = scale_channels(24, width, multiple=2)
        channels_out = scale_channels(144, width, multiple=4)
        layers: list[nn.Module] = [
            ConvBN(3, channels, 3, stride=stem_stride),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        for repeats in _REPEATS:
            layers.append(PoolingUnit(channels, channels_out))
            layers.extend(ResidualUnit(channels_out) for _ in range(repeats - 1))
            channels, channels_out = channels_out, 2 * channels_out
        self.features = nn.Sequential(*layers)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(channels, dim)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.features(images)))
        return embeddings
