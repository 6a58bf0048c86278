"""What training a gallery model is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_sdk.shown import shown_value
from compat_train.config.checks import check_range
from compat_train.config.fields import about, setting
from compat_train.config.parts import (
    Augmentation,
    Classification,
    Execution,
    Optimisation,
    Source,
    check_sampling,
    class_sampling,
)

_TIMM = "timm:"


@dataclass(frozen=True, kw_only=True)
class GalleryConfig:
    """A gallery model, trained as in CMP-NAS, https://arxiv.org/abs/2105.06047, section 4.2."""

    source: Source = field(metadata=about("the images it learns from"))
    arch: str = setting("resnet101", "architecture name")
    dim: int = setting(128, "embedding dimension", unit="numbers")
    width: float = setting(1.0, "factor on the channel counts")
    stem_stride: int = setting(1, "stride of the first convolution; 1 at 112 pixels equals 2 at 224", unit="pixels")
    weights: str | None = setting(
        None,
        "file with the network's published weights, .safetensors or torch's; hub: timm downloads them",
        otherwise="fresh ones",
        added=True,
    )
    preprocessing: Preprocessing = setting(Preprocessing(size=112), "what is done to an image first")
    classification: Classification = setting(Classification(), "its loss")
    sampling_rate: float | None = class_sampling()
    optimisation: Optimisation = setting(Optimisation(), "how long and how fast")
    augmentation: Augmentation = setting(Augmentation(), "random changes of the training images")
    execution: Execution = setting(Execution(), "where it runs")
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    def __post_init__(self) -> None:
        check_model(self.dim, self.width, self.stem_stride)
        check_weights(self.arch, self.weights)
        check_sampling(self.sampling_rate)

    @staticmethod
    def defaults_for(told: Mapping[str, Any]) -> dict[str, Preprocessing]:
        """What is done to an image where nothing else is told; see `published_preprocessing`."""
        return published_preprocessing(told)


def check_model(dim: int, width: float, stem_stride: int) -> None:
    """Refuses, with a ConfigError, an embedding dimension, a width or a stem that no network can have."""
    check_range("dim", dim, 2, 65536)
    check_range("width", width, 0, 16, open_low=True)
    if stem_stride not in (1, 2):
        raise ConfigError(f"stem_stride is {stem_stride!r}; expected 1 or 2", setting="stem_stride")


def check_weights(arch: str, weights: str | None) -> None:
    """Refuses, with a ConfigError, a hub's weights for a network that is not timm's."""
    if weights == "hub" and not arch.startswith(_TIMM):
        raise ConfigError(
            f"weights is hub, which has networks of timm alone, and arch is {shown_value(arch)}; give a file, or "
            f"a network timm:NAME",
            setting="weights",
        )
    if weights == "":
        raise ConfigError("weights is empty; expected a file, or hub", setting="weights")


def published_preprocessing(told: Mapping[str, Any]) -> dict[str, Preprocessing]:
    """What published weights of a network of timm were trained with, as the default of ``preprocessing``.

    Args:
        told: Settings of a training, of which ``arch`` and ``weights`` count.

    Returns:
        Nothing for other networks and for fresh weights.

    Raises:
        ConfigError: timm has no such network.
        MissingExtraError: timm is not installed.
    """
    arch = told.get("arch")
    if told.get("weights") is None or not isinstance(arch, str) or not arch.startswith(_TIMM):
        return {}
    from compat_train.models.timm_network import timm_preprocessing

    return {"preprocessing": timm_preprocessing(arch)}
