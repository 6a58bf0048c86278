"""ProxylessNAS "mobile": inverted residuals whose kernels and expansions were searched for a phone's CPU."""

from __future__ import annotations

from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise
from compat_train.models.mobilenet_v2 import InvertedResidual

# The searched network, stage by stage: output channels, stride of the first block, and kernel and expansion of
# every block. The space has four blocks in each stage but the first and the last; the search left out two of
# the 32-channel stage.
_STAGES: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...] = (
    (16, 1, ((3, 1),)),
    (32, 2, ((5, 3), (3, 3))),
    (40, 2, ((7, 3), (3, 3), (5, 3), (5, 3))),
    (80, 2, ((7, 6), (5, 3), (5, 3), (5, 3))),
    (96, 1, ((5, 6), (5, 3), (5, 3), (5, 3))),
    (192, 2, ((7, 6), (7, 6), (7, 3), (7, 3))),
    (320, 1, ((7, 6),)),
)


class ProxylessMobile(nn.Module):
    """ProxylessNAS "mobile" from images to embeddings that are not normalised.

    As in MobileNetV2, the last 1x1 convolution keeps its 1280 channels at widths below 1; the classifier is
    replaced by one linear layer to the embedding.

    Source: Cai et al., ICLR 2019, https://arxiv.org/abs/1812.00332, figure 4 (the network found for mobile
    phones), as released under the name ``proxyless_mobile``.

    Args:
        dim: Length of the embedding.
        width: Multiplier of all channel counts, which are rounded to multiples of 8.
        stem_stride: Stride of the first convolution: the paper's 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
        super().__init__()
        channels = scale_channels(32, width)
        layers: list[nn.Module] = [ConvBN(3, channels, 3, stride=stem_stride, activation=nn.ReLU6)]
        for base, first_stride, blocks in _STAGES:
            channels_out = scale_channels(base, width)
            for position, (kernel, expansion) in enumerate(blocks):
                stride = first_stride if position == 0 else 1
                layers.append(
                    InvertedResidual(channels, channels_out, kernel=kernel, expansion=expansion, stride=stride)
                )
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
