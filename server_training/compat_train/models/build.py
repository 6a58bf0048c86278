"""One function from the name of an architecture to a fresh model."""

from __future__ import annotations

import math

from torch import nn

from compat_sdk.errors import ConfigError
from compat_train.models.mobilenet_v2 import MobileNetV2
from compat_train.models.mobilenet_v3 import MobileNetV3
from compat_train.models.resnet import BasicBlock, Bottleneck, ResNet
from compat_train.models.shufflenet_v2 import ShuffleNetV2

ARCHITECTURES: tuple[str, ...] = (
    "resnet18",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v2_0.5",
    "mobilenet_v3",
    "shufflenet_v2",
)
"""Names that :func:`build_model` knows."""


def build_model(arch: str, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> nn.Module:
    """Return a freshly initialised model from images to embeddings.

    The model maps float images ``[n, 3, s, s]`` to embeddings ``[n, dim]`` that are *not* normalised; any
    side from 28 pixels works. Weights are drawn from torch's global generator: call ``torch.manual_seed``
    first to repeat them.

    Args:
        arch: One of :data:`ARCHITECTURES`. ``mobilenet_v2_0.5`` is MobileNetV2 at width 0.5.
        dim: Length of the embedding, at least 1.
        width: Multiplier of the channel counts, above 0. On top of the width in the name, if there is one.
        stem_stride: Stride of the first convolution, 1 or 2. 1 at 112 pixels gives the feature maps, and the
            cost, of the papers' 2 at 224.

    Returns:
        The model, in training mode, on the CPU.

    Raises:
        ConfigError: The architecture is unknown or a setting is out of its range.
    """
    if dim < 1:
        raise ConfigError(f"dim is {dim}; an embedding has at least 1 component, commonly 128")
    if not (math.isfinite(width) and width > 0):
        raise ConfigError(f"width is {width}; it multiplies the channel counts and must be above 0, such as 0.5")
    if stem_stride not in (1, 2):
        raise ConfigError(f"stem_stride is {stem_stride}; choose 1 (images up to 112 pixels) or 2 (224 pixels)")
    match arch:
        case "resnet18":
            return ResNet(BasicBlock, (2, 2, 2, 2), dim=dim, width=width, stem_stride=stem_stride)
        case "resnet50":
            return ResNet(Bottleneck, (3, 4, 6, 3), dim=dim, width=width, stem_stride=stem_stride)
        case "resnet101":
            return ResNet(Bottleneck, (3, 4, 23, 3), dim=dim, width=width, stem_stride=stem_stride)
        case "mobilenet_v2":
            return MobileNetV2(dim=dim, width=width, stem_stride=stem_stride)
        case "mobilenet_v2_0.5":
            return MobileNetV2(dim=dim, width=0.5 * width, stem_stride=stem_stride)
        case "mobilenet_v3":
            return MobileNetV3(dim=dim, width=width, stem_stride=stem_stride)
        case "shufflenet_v2":
            return ShuffleNetV2(dim=dim, width=width, stem_stride=stem_stride)
        case _:
            raise ConfigError(f"unknown architecture {arch!r}; choose one of {', '.join(ARCHITECTURES)}")
