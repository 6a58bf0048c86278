"""Networks of the package timm by their names there: its features, and one linear layer to the embedding.

A name is ``timm:NAME`` or ``timm:NAME.tag``, where the tag names published weights and their preprocessing. With
``/pooled`` after it the pooled features are the embedding, which is how a network is taken that was trained elsewhere.
Weights are fresh; nothing is downloaded.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from compat_sdk.errors import CompatError, ConfigError
from compat_sdk.images import Preprocessing
from compat_sdk.nearest import nearest_names
from compat_sdk.shown import shortened, shown_value
from compat_train.models.optional_package import import_timm

_PREFIX, _POOLED = "timm:", "/pooled"
_NAME = re.compile(r"([a-z0-9][a-z0-9_]*)(\.[a-z0-9][a-z0-9_]*)?", re.ASCII)
_RESIZES: Mapping[str, Literal["bilinear", "bicubic", "lanczos"]] = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
}

_USUAL = (
    *("mobilenetv3_large_100", "mobilenetv3_small_100", "mobilenetv4_conv_small", "mobilenetv2_100"),
    *("efficientnet_lite0", "efficientnet_b0", "repvit_m0_9", "fastvit_t8", "mobileone_s0", "ghostnetv2_100"),
    *("starnet_s1", "edgenext_xx_small", "tiny_vit_5m_224", "resnet18", "resnet50", "vit_base_patch16_224"),
)


class TimmNetwork(nn.Module):
    """A network of timm from images to embeddings that are not normalised, with fresh weights.

    Its pooled features, behind which timm would classify, go through one linear layer. A transformer that timm builds
    for one side of the image takes others too, where timm can resample its positions.

    Args:
        arch: ``timm:NAME``, as `is_timm_name` tells; see the module.
        dim: Length of the embedding.

    Raises:
        ConfigError: timm knows no such network or tag, or pooled features are asked for at another length than theirs.
        MissingExtraError: timm is not installed.
    """

    def __init__(self, arch: str, *, dim: int) -> None:
        super().__init__()
        name, pooled = _parsed(arch)
        self.features = _features(name)
        width = int(getattr(self.features, "head_hidden_size", None) or self.features.num_features)
        if pooled and dim != width:
            raise ConfigError(f"dim is {dim}, and {shortened(arch)} has {width} pooled features; set dim to {width}")
        self.head = nn.Identity() if pooled else nn.Linear(width, dim)
        if isinstance(self.head, nn.Linear):
            # As the heads of the other networks: an embedding starts at about the size of the pooled features.
            nn.init.normal_(self.head.weight, std=math.sqrt(1.0 / width))
            nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.features(images))
        return embeddings


def is_timm_name(arch: str) -> bool:
    """Whether a name is of timm's networks: whether it begins with ``timm:``."""
    return arch.startswith(_PREFIX)


def require_size(network: nn.Module, arch: str, size: int) -> None:
    """Return only if a network takes images of this side: one of timm is tried on a black one, others take every side.

    Args:
        network: Any; it is left as it was.
        arch: Its architecture's name.
        size: Side of the image, in pixels.

    Raises:
        ConfigError: It does not.
    """
    if not isinstance(network, TimmNetwork):
        return
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError, TypeError, IndexError) as error:
        own = _side(_pretrained_cfg(_parsed(arch)[0]))
        raise ConfigError(
            f"preprocessing.size is {size}, which {shortened(arch)} does not take "
            f"({shortened(str(error) or type(error).__name__, 100)}); its own size is {own}"
        ) from error
    finally:
        network.train(training)


def classifier_keys(arch: str) -> frozenset[str]:
    """Names of the weights that a network of timm has as a classifier and not for its pooled features.

    Args:
        arch: ``timm:NAME``.

    Raises:
        ConfigError: There is no such network.
    """
    name, _ = _parsed(arch)
    with torch.device("meta"):
        whole = import_timm().create_model(name)
        features = import_timm().create_model(name, num_classes=0)
    return frozenset(whole.state_dict()) - frozenset(features.state_dict())


def hub_features(arch: str) -> nn.Module:
    """A network of timm without classifier, with the weights that timm's hub has under its name: it is downloaded.

    Args:
        arch: ``timm:NAME`` for the weights that timm takes first, ``timm:NAME.tag`` for others.

    Raises:
        ConfigError: There is no such network.
        CompatError: The hub cannot be reached, or has no weights of it.
    """
    name, _ = _parsed(arch)
    try:
        return cast(nn.Module, import_timm().create_model(name, pretrained=True, num_classes=0))
    except Exception as error:  # what a hub's client raises without a network has no one type
        raise CompatError(
            f"cannot get the weights of {shortened(arch)} from timm's hub ({shortened(str(error), 100)}); connect this "
            f"machine, or download them elsewhere and give the file by weights"
        ) from error


def timm_relatives(arch: str) -> tuple[str, ...]:
    """Networks of timm whose weights may be taken for another's: those of the same family, and the usual ones.

    Args:
        arch: Any architecture's name.

    Returns:
        Names with ``timm:``; at most 40, and none where timm is not installed.
    """
    try:
        timm = import_timm()
    except CompatError:
        return ()
    family = re.match(r"[a-z]*", arch.removeprefix(_PREFIX))
    near = timm.list_models(f"{family[0]}*")[:24] if family and family[0] and is_timm_name(arch) else []
    return tuple(f"{_PREFIX}{name}" for name in dict.fromkeys([*near, *_USUAL]) if timm.is_model(name))


def as_deployed(network: nn.Module, size: int) -> nn.Module:
    """The same function as it should run where it is used: training's parallel branches merged, one image size.

    RepVGG-like blocks (repvit, fastvit, mobileone) train as several convolutions and run as one; the sum of linear
    maps is a linear map. A transformer's positions are resampled for the size once instead of in every call.

    Source: Ding et al., CVPR 2021, https://arxiv.org/abs/2101.03697, section 3.3.

    Args:
        network: In evaluation mode. It is left as it was.
        size: Side of the images that it will see, in pixels.

    Returns:
        A copy, for a network of timm; any other network itself.
    """
    if not isinstance(network, TimmNetwork):
        return network
    # Weights are merged in double precision, so that they are rounded once.
    exact = copy.deepcopy(network).double()
    merged: TimmNetwork = import_timm("timm.utils.model").reparameterize_model(exact, inplace=True).float()
    features: Any = merged.features
    # Windowed transformers have no such positions; for another size timm would give them other windows.
    if getattr(features, "dynamic_img_size", False) and isinstance(getattr(features, "pos_embed", None), nn.Parameter):
        features.set_input_size(img_size=(size, size))
    merged.eval()
    with torch.no_grad():
        merged(torch.zeros(1, 3, size, size))  # some keep what depends on the size alone from their first call
    return merged


def timm_preprocessing(arch: str, size: int | None = None) -> Preprocessing:
    """What the published weights of a network of timm expect to be done to an image.

    Args:
        arch: ``timm:NAME`` for the weights that timm takes first, ``timm:NAME.tag`` for others.
        size: Side of the input in pixels; by default the one of the weights.

    Raises:
        ConfigError: There is no such network, or what it expects cannot be said here.
        MissingExtraError: timm is not installed.
    """
    name, _ = _parsed(arch)
    cfg = _pretrained_cfg(name)
    resize = _RESIZES.get(str(cfg.get("interpolation", "bicubic")))
    mode = cfg.get("crop_mode") or "center"
    if resize is None or mode not in ("center", "squash"):
        raise ConfigError(
            f"{shortened(arch)} was trained with interpolation {shown_value(cfg.get('interpolation'))} and crop_mode "
            f"{shown_value(mode)}, which are not known here; set the preprocessing"
        )
    values: dict[str, Any] = {
        "size": _side(cfg) if size is None else size,
        "fit": "crop" if mode == "center" else "stretch",
        "resize": resize,
        "mean": tuple(cfg["mean"]),
        "std": tuple(cfg["std"]),
    }
    if mode == "center" and "crop" in {entry.name for entry in fields(Preprocessing)}:
        values["crop"] = float(cfg.get("crop_pct") or 1.0)
    return Preprocessing(**values)


def _parsed(arch: str) -> tuple[str, bool]:
    """Timm's name of a network, with its tag, and whether its pooled features are the embedding.

    Raises:
        ConfigError: timm knows no such network or tag.
    """
    name = arch.removeprefix(_PREFIX).removesuffix(_POOLED)
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigError(
            f"architecture {shown_value(arch)} is no name of timm's; expected timm:NAME, timm:NAME.tag, or either with "
            f"/pooled behind it, such as timm:mobilenetv4_conv_small"
        )
    timm = import_timm()
    if not timm.is_model(found[1]):
        near = nearest_names(found[1], timm.list_models()) or timm.list_models(f"{found[1]}*")[:3]
        raise ConfigError(
            f"timm {timm.__version__} has no network {shortened(found[1])}"
            + (f"; did you mean {', '.join(near)}?" if near else "; its names: timm.list_models()")
        )
    if found[2] and name not in timm.list_pretrained(f"{found[1]}.*"):
        tags = [tagged.rpartition(".")[2] for tagged in timm.list_pretrained(f"{found[1]}.*")]
        known = f"it has {shortened(', '.join(tags), 120)}" if tags else "it has none"
        raise ConfigError(f"timm {timm.__version__} has no weights {shortened(found[2][1:])} of {found[1]}; {known}")
    return name, arch.endswith(_POOLED)


def _features(name: str) -> Any:
    """A network of timm without classifier, fresh, for images of as many sides as timm makes possible."""
    timm = import_timm()
    ways: tuple[dict[str, bool], ...] = ({},)
    if _pretrained_cfg(name).get("fixed_input_size"):
        # Vision transformers resample their positions; windowed ones have none, and pad their windows.
        ways = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
    for way in ways:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **way)
        except TypeError:
            if not way:
                raise
    raise AssertionError("the last way has no argument to refuse")


def _pretrained_cfg(name: str) -> Mapping[str, Any]:
    """What timm knows of the published weights of a network; of one without any, what timm takes by default."""
    found = import_timm("timm.models").get_pretrained_cfg(name)
    return {} if found is None else cast(Mapping[str, Any], found.to_dict())


def _side(cfg: Mapping[str, Any]) -> int:
    """Side of the square RGB input that weights were trained for."""
    channels, height, width = cfg.get("input_size", (3, 224, 224))
    if channels != 3 or height != width:
        raise ConfigError(f"this network of timm takes images of {channels} x {height} x {width}; expected square RGB")
    return int(height)
