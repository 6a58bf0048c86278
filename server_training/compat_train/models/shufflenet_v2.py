"""ShuffleNetV2: split, transform one half, concatenate, shuffle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise

# Table 5 of the paper: channels of stages 2 to 4 and of conv5 at the four published widths.
_PUBLISHED = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_REPEATS = (4, 8, 4)


def interleave_channels(first: Tensor, second: Tensor) -> Tensor:
    """Channels of two tensors in turn: the concatenation and the channel shuffle of two groups in one.

    Written as stack and flatten because converters know it: it asks for no shape at run time, Core ML fuses
    it into one interleaved concatenation, and LiteRT needs a third fewer transposes than for reshape and
    transpose.

    Args:
        first: ``[n, channels, h, w]``; becomes the even channels.
        second: Same shape; becomes the odd channels.

    Returns:
        ``[n, 2 * channels, h, w]``.
    """
    return torch.stack((first, second), 2).flatten(1, 2)


def _filter(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        ConvBN(channels_in, channels_out),
        ConvBN(channels_out, channels_out, 3, stride=stride, groups=channels_out, activation=None),
        ConvBN(channels_out, channels_out),
    )


class _ShuffleUnit(nn.Module):
    """Unit of stride 1: half of the channels pass, the other half are filtered, then both are shuffled.

    Args:
        channels: Channels in and out, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _filter(channels // 2, channels // 2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels, h, w]`` to the same shape."""
        kept, changed = features.chunk(2, 1)
        return interleave_channels(kept, self.branch(changed))


class _ShuffleDownsample(nn.Module):
    """Unit of stride 2: both branches see all channels, and each gives half of the output.

    Args:
        channels_in: Input channels.
        channels_out: Output channels, even.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.shortcut = nn.Sequential(
            ConvBN(channels_in, channels_in, 3, stride=2, groups=channels_in, activation=None),
            ConvBN(channels_in, half),
        )
        self.branch = _filter(channels_in, half, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / 2, w / 2]``."""
        return interleave_channels(self.shortcut(features), self.branch(features))


def _stage_channels(width: float) -> tuple[int, ...]:
    if width in _PUBLISHED:
        return _PUBLISHED[width]
    stages = (scale_channels(channels, width, multiple=4) for channels in _PUBLISHED[1.0][:3])
    return (*stages, scale_channels(1024, max(1.0, width)))


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 from images to embeddings that are not normalised.

    The last 1x1 convolution ("conv5") is kept; the classifier after the pool is replaced by a linear layer to
    the embedding.

    Source: Ma et al., ECCV 2018, https://arxiv.org/abs/1807.11164, figure 3 (c, d) and table 5.

    Args:
        dim: Length of the embedding.
        width: 0.5, 1, 1.5 and 2 are the published networks, with their published channels; any other value
            scales those of width 1, rounded to multiples of 4 (stages) and 8 (stem, conv5). As in the
            published networks, conv5 does not shrink below 1024; the stem's 24 channels do not grow, and
            shrink below width 0.5 only.
        stem_stride: Stride of the first convolution: the paper's 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
        super().__init__()
        channels = scale_channels(24, min(1.0, 2 * width))
        *stages, last = _stage_channels(width)
        layers: list[nn.Module] = [
            ConvBN(3, channels, 3, stride=stem_stride),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        for channels_out, repeats in zip(stages, _REPEATS, strict=True):
            layers.append(_ShuffleDownsample(channels, channels_out))
            layers.extend(_ShuffleUnit(channels_out) for _ in range(repeats - 1))
            channels = channels_out
        layers.append(ConvBN(channels, last))
        self.features = nn.Sequential(*layers)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(last, dim)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.features(images)))
        return embeddings
