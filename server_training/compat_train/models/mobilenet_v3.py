"""MobileNetV3-Large: inverted residuals with squeeze-and-excitation and hard-swish."""

from __future__ import annotations

from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise

# Table 1 of the paper: kernel, channels of the expansion, output channels, squeeze-and-excitation, hard-swish
# rather than ReLU, stride.
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate that is computed from the means of all channels.

    Source: section 5.3 of the MobileNetV3 paper: a quarter of the channels inside, hard sigmoid as the gate.

    Args:
        channels: Channels of the feature map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = scale_channels(channels, 0.25)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels, h, w]`` to the same shape."""
        gate: Tensor = self.gate(features.mean((2, 3), keepdim=True))
        return features * gate


class _GatedInvertedResidual(nn.Module):
    """Expand by a 1x1, filter by a depthwise kernel, gate the channels, project by a linear 1x1.

    Args:
        channels_in: Input channels.
        hidden: Channels of the depthwise convolution. Equal to ``channels_in`` leaves out the expansion.
        channels_out: Output channels.
        kernel: Side of the depthwise kernel, 3 or 5.
        squeeze: Whether squeeze-and-excitation follows the depthwise convolution.
        activation: Module class of the non-linearity.
        stride: 1 or 2. The shortcut exists when it is 1 and the channels do not change.
    """

    def __init__(
        self,
        channels_in: int,
        hidden: int,
        channels_out: int,
        *,
        kernel: int,
        squeeze: bool,
        activation: type[nn.ReLU] | type[nn.Hardswish],
        stride: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != channels_in:
            layers.append(ConvBN(channels_in, hidden, activation=activation))
        layers.append(ConvBN(hidden, hidden, kernel, stride=stride, groups=hidden, activation=activation))
        if squeeze:
            layers.append(SqueezeExcitation(hidden))
        layers.append(ConvBN(hidden, channels_out, activation=None))
        self.branch = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / stride, w / stride]``."""
        output: Tensor = self.branch(features)
        return features + output if self.residual else output


class MobileNetV3(nn.Module):
    """MobileNetV3-Large from images to embeddings that are not normalised.

    As in the paper, the layer of 1280 hard-swish units comes after the global pool, where it is cheap; the
    classifier after it is replaced by a linear layer to the embedding.

    Source: Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244, table 1.

    Args:
        dim: Length of the embedding.
        width: Multiplier of all channel counts, rounded to multiples of 8; the 1280 units only grow.
        stem_stride: Stride of the first convolution: the paper's 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
        super().__init__()
        channels = scale_channels(16, width)
        layers: list[nn.Module] = [ConvBN(3, channels, 3, stride=stem_stride, activation=nn.Hardswish)]
        for kernel, hidden, base, squeeze, hard_swish, stride in _BLOCKS:
            channels_out = scale_channels(base, width)
            layers.append(
                _GatedInvertedResidual(
                    channels,
                    scale_channels(hidden, width),
                    channels_out,
                    kernel=kernel,
                    squeeze=squeeze,
                    activation=nn.Hardswish if hard_swish else nn.ReLU,
                    stride=stride,
                )
            )
            channels = channels_out
        last = scale_channels(960, width)
        layers.append(ConvBN(channels, last, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.pool = GlobalAveragePool()
        units = scale_channels(1280, max(1.0, width))
        self.head = nn.Sequential(nn.Linear(last, units), nn.Hardswish(inplace=True), nn.Linear(units, dim))
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.features(images)))
        return embeddings
