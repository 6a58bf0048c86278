"""Residual networks with the strides of the paper: the gallery models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GeneralisedMeanPool, GlobalAveragePool, initialise


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the first convolution carries the stride.

    Args:
        channels_in: Input channels.
        planes: Channels of both convolutions.
        stride: 1 or 2.
        kept: Fraction of the inner filters that is left. Only the first convolution can lose filters: those of
            the second are added to the shortcut, whose width is that of the whole stage.
    """

    expansion = 1

    def __init__(self, channels_in: int, planes: int, stride: int, kept: float = 1.0) -> None:
        super().__init__()
        inner = _filters_left(planes, kept)
        self.branch = nn.Sequential(
            ConvBN(channels_in, inner, 3, stride=stride), ConvBN(inner, planes, 3, activation=None)
        )
        self.shortcut = _shortcut(channels_in, planes, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, planes, h / stride, w / stride]``."""
        output: Tensor = self.activation(self.branch(features) + self.shortcut(features))
        return output


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the first 1x1 carries the stride.

    That place of the stride is the paper's ("v1"). Many libraries moved it to the 3x3 ("v1.5"), which costs
    ResNet-101 3 % more multiply-adds and does not give the figure that CMP-NAS states.

    Args:
        channels_in: Input channels.
        planes: Channels of the 3x3 convolution before pruning; the block puts out four times as many.
        stride: 1 or 2.
        kept: Fraction of the filters of the first two convolutions that is left.
    """

    expansion = 4

    def __init__(self, channels_in: int, planes: int, stride: int, kept: float = 1.0) -> None:
        super().__init__()
        channels_out, inner = planes * self.expansion, _filters_left(planes, kept)
        self.branch = nn.Sequential(
            ConvBN(channels_in, inner, 1, stride=stride),
            ConvBN(inner, inner, 3),
            ConvBN(inner, channels_out, 1, activation=None),
        )
        self.shortcut = _shortcut(channels_in, channels_out, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, 4 * planes, h / stride, w / stride]``."""
        output: Tensor = self.activation(self.branch(features) + self.shortcut(features))
        return output


def _filters_left(planes: int, kept: float) -> int:
    # Not rounded to multiples of 8: the fraction is what CMP-NAS states, and a stage of 8 could lose none.
    return max(1, round(planes * kept))


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return ConvBN(channels_in, channels_out, 1, stride=stride, activation=None)


class ResNet(nn.Module):
    """Residual network from images to embeddings that are not normalised.

    Stem of a 7x7 convolution and a 3x3 max-pool of stride 2, four stages, global average pool, linear layer.
    The linear layer has a bias and no batch norm after it (CMP-NAS names neither): pooled features are all
    positive, and the bias lets the embedding move their common offset away.

    Source: He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, table 1; projection shortcuts where the
    shape changes (option B).

    Args:
        block: Kind of block in every stage.
        repeats: Blocks per stage, four numbers.
        dim: Length of the embedding.
        width: Multiplier of all channel counts, which are rounded to multiples of 8.
        stem_stride: Stride of the 7x7 convolution. The paper's 2 is for 224 pixels; 1 gives the same feature
            maps at 112.
        zero_init_residual: Start the last batch norm of every branch at 0, so that the untrained network is
            its shortcuts alone (Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 5.1). It helps
            deep networks through their first steps.
        kept: Fraction of the filters inside the residual branches that is left, above 0 and at most 1; each
            layer has at least 1. 0.1 is the query model of CMP-NAS, table 4.
        generalised_mean: Pool by the generalised mean, as DMU does, instead of the mean.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        repeats: Sequence[int],
        *,
        dim: int = 128,
        width: float = 1.0,
        stem_stride: int = 1,
        zero_init_residual: bool = True,
        kept: float = 1.0,
        generalised_mean: bool = False,
    ) -> None:
        super().__init__()
        channels = scale_channels(64, width)
        self.stem = nn.Sequential(ConvBN(3, channels, 7, stride=stem_stride), nn.MaxPool2d(3, stride=2, padding=1))
        stages: list[nn.Module] = []
        for index, repeat in enumerate(repeats):
            planes = scale_channels(64 * 2**index, width)
            blocks: list[nn.Module] = []
            for position in range(repeat):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(channels, planes, stride, kept))
                channels = planes * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = GeneralisedMeanPool() if generalised_mean else GlobalAveragePool()
        self.head = nn.Linear(channels, dim)
        initialise(self)
        if zero_init_residual:
            self._zero_last_batch_norms()

    def _zero_last_batch_norms(self) -> None:
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                *_, last = (layer for layer in module.branch.modules() if isinstance(layer, nn.BatchNorm2d))
                nn.init.zeros_(last.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.stages(self.stem(images))))
        return embeddings
