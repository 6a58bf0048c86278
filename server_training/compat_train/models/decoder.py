"""From embeddings back to images, for training alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_train.models.layers import initialise
from compat_train.models.mobilenet_v2 import InvertedResidual

_DOUBLINGS = 3


class Decoder(nn.Module):
    """An image from an embedding: a small map of features, doubled three times by inverted residuals.

    FCT's autoencoder is built of MobileNetV2's blocks too; its exact layers are not published.

    Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805, section 5.1.

    Args:
        dim: Numbers per embedding.
        size: Side of the images, in pixels, at least 1.
        channels: Channels of the smallest map; each doubling of the side halves them, down to 8.
    """

    def __init__(self, *, dim: int, size: int, channels: int = 64) -> None:
        super().__init__()
        self.size, self.side, self.channels = size, -(-size // 2**_DOUBLINGS), channels
        self.start = nn.Linear(dim, channels * self.side**2)
        blocks: list[nn.Module] = []
        for _ in range(_DOUBLINGS):
            narrower = max(8, channels // 2)
            blocks += [nn.Upsample(scale_factor=2), InvertedResidual(channels, narrower, 4, 1)]
            channels = narrower
        self.blocks = nn.Sequential(*blocks)
        self.to_image = nn.Conv2d(channels, 3, 3, padding=1)
        initialise(self)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``[n, dim]`` to images ``[n, 3, size, size]``, in [0, 1]."""
        features = F.relu(self.start(embeddings)).view(-1, self.channels, self.side, self.side)
        features = features.contiguous(memory_format=torch.channels_last)  # half the time of a step on a CPU
        images: Tensor = self.to_image(self.blocks(features)).sigmoid()
        return images[:, :, : self.size, : self.size]
