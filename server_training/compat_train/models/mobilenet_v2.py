"""MobileNetV2: inverted residuals with linear bottlenecks."""

from __future__ import annotations

from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise

# Table 2 of the paper: expansion, output channels, repeats, stride of the first repeat.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter by a depthwise kernel, project by a linear 1x1.

    With expansion 1 there is nothing to expand, and the first 1x1 is left out.

    Args:
        channels_in: Input channels.
        channels_out: Output channels.
        expansion: Factor from input channels to those of the depthwise convolution.
        stride: 1 or 2. The shortcut exists when it is 1 and the channels do not change.
        kernel: Side of the depthwise kernel: 3 in MobileNetV2.
    """

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int, *, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvBN(channels_in, hidden, activation=nn.ReLU6))
        layers.append(ConvBN(hidden, hidden, kernel, stride=stride, groups=hidden, activation=nn.ReLU6))
        layers.append(ConvBN(hidden, channels_out, activation=None))
        self.branch = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / stride, w / stride]``."""
        output: Tensor = self.branch(features)
        return features + output if self.residual else output


class MobileNetV2(nn.Module):
    """MobileNetV2 from images to embeddings that are not normalised.

    The last 1x1 convolution keeps its 1280 channels at widths below 1, as in the paper. The classifier and
    its dropout are replaced by one linear layer to the embedding.

    On cost: at 112 pixels with stem stride 1 and a 1000-way head this network has 300.8 million
    multiply-adds (314.1 with batch norms), where its paper says 300, and 97.1 (104.4) at width 0.5; a head
    of 128 takes 1.1 off. Table 5 of CMP-NAS lists 329 and 100: a variant with a 1x1 expansion convolution in the
    first block, whose expansion is 1, unrounded widths and a classifier without bias gives 327.8 and 99.4.

    Source: Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, table 2.

    Args:
        dim: Length of the embedding.
        width: Multiplier of all channel counts, which are rounded to multiples of 8.
        stem_stride: Stride of the first convolution: the paper's 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
        super().__init__()
        channels = scale_channels(32, width)
        layers: list[nn.Module] = [ConvBN(3, channels, 3, stride=stem_stride, activation=nn.ReLU6)]
        for expansion, base, repeats, first_stride in _STAGES:
            channels_out = scale_channels(base, width)
            for position in range(repeats):
                stride = first_stride if position == 0 else 1
                layers.append(InvertedResidual(channels, channels_out, expansion, stride))
                channels = channels_out
        last = scale_channels(1280, max(1.0, width))
        layers.append(ConvBN(channels, last, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(last, dim)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.features(images)))
        return embeddings
