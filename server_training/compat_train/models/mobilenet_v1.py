"""MobileNetV1: a plain chain of depthwise and 1x1 convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise

# Table 1 of the paper: output channels and stride of each depthwise-separable convolution. The table prints
# stride 2 for the last one too, but leaves its map at 7x7, which takes stride 1.
_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


class MobileNetV1(nn.Module):
    """MobileNetV1 from images to embeddings that are not normalised.

    Every layer shrinks with the width, the last one too, as in the paper. The classifier is replaced by one
    linear layer to the embedding.

    Source: Howard et al., 2017, https://arxiv.org/abs/1704.04861, table 1 and figure 3.

    Args:
        dim: Length of the embedding.
        width: Multiplier of all channel counts, which are rounded to multiples of 8.
        stem_stride: Stride of the first convolution: the paper's 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
        super().__init__()
        channels = scale_channels(32, width)
        layers: list[nn.Module] = [ConvBN(3, channels, 3, stride=stem_stride)]
        for base, stride in _LAYERS:
            channels_out = scale_channels(base, width)
            layers.append(ConvBN(channels, channels, 3, stride=stride, groups=channels))
            layers.append(ConvBN(channels, channels_out))
            channels = channels_out
        self.features = nn.Sequential(*layers)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(channels, dim)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.features(images)))
        return embeddings
