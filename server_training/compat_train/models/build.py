"""One function from the name of an architecture to a fresh model."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from compat_sdk.errors import ConfigError
from compat_sdk.nearest import nearest_names
from compat_sdk.shown import shortened
from compat_train.models.global_names import global_named, is_global_name
from compat_train.models.global_network import GlobalNetwork
from compat_train.models.mobilenet_v1 import MobileNetV1
from compat_train.models.mobilenet_v2 import MobileNetV2
from compat_train.models.mobilenet_v3 import MobileNetV3
from compat_train.models.proxyless_mobile import ProxylessMobile
from compat_train.models.resnet import BasicBlock, Bottleneck, ResNet
from compat_train.models.search_space import is_member_name, member_named
from compat_train.models.shufflenet_v1 import ShuffleNetV1
from compat_train.models.shufflenet_v2 import ShuffleNetV2
from compat_train.models.supernet import MemberNetwork
from compat_train.models.swin import SwinTiny
from compat_train.models.timm_network import TimmNetwork, is_timm_name

ARCHITECTURES: tuple[str, ...] = (
    "resnet18",
    "resnet50",
    "resnet101",
    "mobilenet_v1",
    "mobilenet_v1_0.5",
    "mobilenet_v2",
    "mobilenet_v2_0.5",
    "mobilenet_v3",
    "proxyless_mobile",
    "shufflenet_v1",
    "shufflenet_v2",
)
"""Names that :func:`build_model` knows, besides ``cmp:...``, ``global:...``, ``<resnet>_pruned<fraction>``,
``<resnet>_gem``, and ``swin_tiny`` and ``timm:...``, which need the package timm."""

_RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
_PRUNED = re.compile(r"(resnet\d+)_pruned(0\.\d+)")


def build_model(arch: str, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> nn.Module:
    """Return a freshly initialised model from images to embeddings.

    The model maps float images ``[n, 3, s, s]`` to embeddings ``[n, dim]`` that are *not* normalised; any
    side from 28 pixels works, but for some networks of timm. Weights are drawn from torch's global generator: call
    ``torch.manual_seed`` first to repeat them.

    Args:
        arch: One of :data:`ARCHITECTURES`, or a member of a search space: ``cmp:...`` or ``global:...``. A ``_0.5`` at
            the end of a name is the network at width 0.5. ``resnet101_pruned0.9``, and so for each ResNet and every
            fraction between 0 and 1, lacks 90 % of the filters inside its residual branches (CMP-NAS, table 4).
            ``_gem`` at the end of a ResNet's name or of ``swin_tiny`` pools by the generalised mean (DMU, section
            4.1). ``timm:NAME`` is a network of the package timm; see `compat_train.models.timm_network`.
        dim: Length of the embedding, at least 1.
        width: Multiplier of the channel counts, above 0. On top of the width in the name, if there is one.
        stem_stride: Stride of the first convolution, 1 or 2. 1 at 112 pixels gives the feature maps, and the
            cost, of the papers' 2 at 224.

    Returns:
        The model, in training mode, on the CPU.

    Raises:
        ConfigError: The architecture is unknown or a setting is out of its range.
        MissingExtraError: The architecture is ``swin_tiny`` or ``timm:...``, and timm is not installed.
    """
    if dim < 1:
        raise ConfigError(f"dim is {dim}; an embedding has at least 1 component, commonly 128")
    if not (math.isfinite(width) and width > 0):
        raise ConfigError(f"width is {width}; it multiplies the channel counts and must be above 0, such as 0.5")
    if stem_stride not in (1, 2):
        raise ConfigError(f"stem_stride is {stem_stride}; choose 1 (images up to 112 pixels) or 2 (224 pixels)")
    if is_member_name(arch) or is_global_name(arch):
        if width != 1.0:
            raise ConfigError(
                f"width is {width} for {arch}; a member of a search space has its channel counts in its name: leave "
                f"width out"
            )
        if is_global_name(arch):
            return GlobalNetwork(global_named(arch), dim=dim, stem_stride=stem_stride)
        return MemberNetwork(member_named(arch), dim=dim, stem_stride=stem_stride)
    if is_timm_name(arch):
        for setting, value, own in (("width", width, 1.0), ("stem_stride", stem_stride, 1)):
            if value != own:
                raise ConfigError(
                    f"{setting} is {value} for {arch}, whose layers are timm's own; leave {setting} out",
                    setting=setting,
                )
        return TimmNetwork(arch, dim=dim)
    gem = arch.endswith("_gem")
    base, kept = _before_pruning(arch.removesuffix("_gem"))
    if base in _RESNETS:
        block, repeats = _RESNETS[base]
        return ResNet(block, repeats, dim=dim, width=width, stem_stride=stem_stride, kept=kept, generalised_mean=gem)
    if base == "swin_tiny":
        return SwinTiny(dim=dim, width=width, stem_stride=stem_stride, generalised_mean=gem)
    match arch:
        case "mobilenet_v1":
            return MobileNetV1(dim=dim, width=width, stem_stride=stem_stride)
        case "mobilenet_v1_0.5":
            return MobileNetV1(dim=dim, width=0.5 * width, stem_stride=stem_stride)
        case "mobilenet_v2":
            return MobileNetV2(dim=dim, width=width, stem_stride=stem_stride)
        case "mobilenet_v2_0.5":
            return MobileNetV2(dim=dim, width=0.5 * width, stem_stride=stem_stride)
        case "mobilenet_v3":
            return MobileNetV3(dim=dim, width=width, stem_stride=stem_stride)
        case "proxyless_mobile":
            return ProxylessMobile(dim=dim, width=width, stem_stride=stem_stride)
        case "shufflenet_v1":
            return ShuffleNetV1(dim=dim, width=width, stem_stride=stem_stride)
        case "shufflenet_v2":
            return ShuffleNetV2(dim=dim, width=width, stem_stride=stem_stride)
        case _:
            near = nearest_names(arch, (*ARCHITECTURES, "swin_tiny"))
            nearest = f"; nearest: {', '.join(near)}" if near else ""
            raise ConfigError(
                f"unknown architecture {shortened(repr(arch), 40)}{nearest}; expected a name that `compat-sdk archs` "
                f"lists, such as resnet18, or cmp:..., global:..., <resnet>_pruned<fraction>, <resnet>_gem, swin_tiny "
                f"or timm:NAME"
            )


def require_architecture(arch: str, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1) -> None:
    """Return only if `build_model` can build a network; nothing is drawn and no memory is taken.

    Raises:
        ConfigError: The architecture is unknown or a setting is out of its range.
        MissingExtraError: A package that it needs is not installed.
    """
    with torch.device("meta"):
        build_model(arch, dim=dim, width=width, stem_stride=stem_stride)


def _before_pruning(arch: str) -> tuple[str, float]:
    """Name of the whole network, and the fraction of inner filters that the named one keeps of it."""
    if "_pruned" not in arch:
        return arch, 1.0
    found = _PRUNED.fullmatch(arch)
    if found is None or not float(found[2]) > 0:
        raise ConfigError(
            f"architecture {arch!r} is no pruned network; expected <resnet>_pruned<fraction>, where the fraction of "
            f"inner filters that are removed is above 0 and below 1, such as resnet101_pruned0.9"
        )
    return found[1], 1.0 - float(found[2])
