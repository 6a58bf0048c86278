"""What a global search is told."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.training import (
    Augmentation,
    Classification,
    Execution,
    GalleryConfig,
    Optimisation,
    QueryConfig,
    QueryMethod,
    Source,
    check_choice,
    check_range,
    config_from_mapping,
    config_to_json,
)
from compat_train.models.global_space import Bounds

Objective = Literal["accuracy", "retrieval", "r3"]
Ranking = Literal["dynamic", "static"]

TINY = Bounds()
"""Section 4.1's bounds for tiny networks."""

MOBILE = Bounds(max_width=128)
"""Section 4.1's bounds for mobile networks."""

PRESETS = {
    "tiny": TINY,
    "mobile": MOBILE,
    # Section 4.2, faces, without a micro search. The last channels, 256 and 512, are 8 times these: four stages.
    "face-small": Bounds(kind="residual", stages=4, max_width=32),
    "face-medium": Bounds(kind="residual", stages=4, max_width=64),
}
"""The paper's bounds by name.

Those for faces give its depths and widths and not its sizes: a search grows separable layers, of which a network
within ``face-small`` has 2.5 M parameters at most and one within ``face-medium`` 9.4 M (dim 512), where the paper's
have 14.6 M and 37.1 M. With plain convolutions its depths and widths come to 12.0 M and 28.7 M here; the paper does
not say what its blocks are.
"""

_SOFTMAX = Classification(loss="norm-softmax", margin=0.0, scale=16.0)
"""Loss of networks that have no gallery model: the softmax that an embedding can be compared by, see `GlobalConfig`."""

CUTOUT = Augmentation(cutout=0.5)
"""Section 4.1's augmentation: 16 of CIFAR's 32 pixels."""

_OF_MICRO = ("micro_epochs", "final_width")  # settings of the micro search
_HELD_OUT = 0.1
_SIZE = 32  # pixels, CIFAR's side


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How every network of a search is trained; only its epochs are the search's. Cosine decay to 0 (section 4.1)."""

    batch: int = 64  # images per step
    lr: float = 0.025  # highest learning rate
    momentum: float = 0.9  # SGD momentum, or Adam's first beta
    weight_decay: float = 3e-4  # on weights with more than one axis; biases and batch norms have none
    warmup_epochs: float = 0.0  # epochs of linear growth from 0
    optimiser: Literal["sgd", "adam"] = "sgd"
    gradient_norm: float = 5.0  # longer gradients are shortened to it, as in the authors' code; 0: none are

    def __post_init__(self) -> None:
        check_range("optimisation.warmup_epochs", self.warmup_epochs, 0)
        _ = self.of(max(1, math.ceil(self.warmup_epochs)))  # refuses what cannot work

    def of(self, epochs: int) -> Optimisation:
        """The schedule of a training of so many epochs."""
        return Optimisation(epochs=epochs, **asdict(self))


@dataclass(frozen=True, kw_only=True)
class GlobalConfig:
    """Efficient Global NAS: seed 002, sections 3.2, 3.3 and 4.1, with two objectives beyond it.

    Where this differs from the authors' release: Its networks end in a linear layer with a logit per class; these end
    in an embedding, so that they can be exported and searched with, and classes are told by cosines times 16: the
    parameters that are reported count the embedding's layer and no classifier. Its candidates have the accuracy of
    their best epoch on the test images; these have that of their last epoch on images held out of training. It decays
    all parameters, and lowers the rate after each epoch; here batch norms and biases are not decayed, and the rate
    falls with each step, as everywhere in this package. It also ends the depth search where the accuracy on the
    training images exceeds 99.5 %, of which the paper says nothing.

    The paper gives both thresholds without a unit; its authors' code takes them as percentage points of accuracy. The
    micro search lowers the width to hold the parameters while it compares; the networks that the paper publishes have
    the macro search's width again, with the operations and kernels that were found (Fashion-MNIST: 54 and 508,258
    parameters, where the micro search ended at 46 and 372,242).
    """

    source: Source
    objective: Objective = "accuracy"  # classification; retrieval = M(q,q); r3 = M(q,q) * M(q,g)
    gallery: str | None = None  # RUN folder of the gallery model, for r3
    mmacs: float | None = None  # most multiply-accumulates of any network, millions; None: no limit
    bounds: Bounds = TINY  # depths and widths of the macro search; the micro search may go below min_width
    dim: int | None = None  # embedding dimension; None: 128, or the gallery run's
    preprocessing: Preprocessing | None = None  # None: 32 pixels, or the gallery run's
    stem_stride: int = 1  # stride of the first convolution
    macro_epochs: int = 10  # epochs of the first network of the macro search, its E_min
    micro_epochs: int = 2  # epochs of every network of the micro search, its E_min
    micro: bool = True  # False: the macro search alone, as the paper does on faces
    gain: float = 0.10  # percentage points by which a deeper network must be better to be adopted
    drop: float = 0.05  # percentage points by which a deeper network may be worse without a strike
    strikes: int = 3  # strikes that end the depth search, and the width search
    strikes_reset: bool = True  # an adopted network clears the strikes, as in the authors' code; False: they add up
    ranking: Ranking = "dynamic"  # static: macro_epochs for every network of the macro search
    final_width: Literal["macro", "micro"] = "macro"  # of the found network: the macro search's width, or the micro's
    final_epochs: int = 600  # epochs of the found network and of the random ones, on all training images
    random: int = 0  # random members that are trained as the found network is, for Relative Improvement
    held_out: float | None = None  # share of each class's training images that judge; None: 0.1, where no val/ does
    method: QueryMethod | None = None  # how networks are trained for r3; None: bct
    regression: float | None = None  # for r3: weight of the regression term, where it is not the method's own
    mixed: bool = False  # for r3: regress on cut-and-paste images too
    classification: Classification | None = None  # None: softmax of cosines times 16, or for r3 the gallery run's
    optimisation: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = CUTOUT
    execution: Execution = field(default_factory=Execution)
    license: str = "unspecified"  # licence of the trained weights

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, typing.get_args(Objective))
        check_choice("ranking", self.ranking, typing.get_args(Ranking))
        check_choice("final_width", self.final_width, ("macro", "micro"))
        check_range("macro_epochs", self.macro_epochs, 1)
        check_range("micro_epochs", self.micro_epochs, 1)
        check_range("final_epochs", self.final_epochs, 1)
        check_range("gain", self.gain, 0, 100)
        check_range("drop", self.drop, 0, 100)
        check_range("strikes", self.strikes, 1)
        check_range("random", self.random, 0)
        if self.mmacs is not None:
            check_range("mmacs", self.mmacs, 0, open_low=True)
        if self.held_out is not None:
            check_range("held_out", self.held_out, 0, 0.5, open_low=True)
        self._check_objective()
        for epochs in (self.macro_epochs, self.final_epochs, *[self.micro_epochs] * self.micro):
            training = self.training("global:plain:1:s3s3s3", epochs)  # refuses what cannot work
            if isinstance(training, QueryConfig) and not training.compatible:
                raise ConfigError(
                    f"method {training.method!r} does not draw a network into the gallery's space, so what is found "
                    f"could not search it; choose another, such as 'bct'"
                )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "") -> GlobalConfig:
        """A configuration from nested mappings, such as a TOML recipe.

        What the tables of augmentation and, without a gallery model, of classification leave out is what the search
        has where the whole table is left out: Cutout of half the side, and the softmax of cosines times 16.

        Args:
            values: Field values.
            where: Dotted place of ``values``, for messages.

        Raises:
            ConfigError: A field is unknown, missing, of the wrong type or out of its range, or would be ignored.
        """
        filled: dict[str, Any] = {}
        augmentation, loss = values.get("augmentation"), values.get("classification")
        if isinstance(augmentation, Mapping):
            filled["augmentation"] = {**config_to_json(CUTOUT), **augmentation}
        if isinstance(loss, Mapping):
            alone = values.get("objective") != "r3"
            softmax = loss.get("loss", _SOFTMAX.loss if alone else None) == _SOFTMAX.loss
            if softmax and loss.get("margin"):
                raise ConfigError(
                    f"{where}classification.margin is {loss['margin']!r}, but the loss {_SOFTMAX.loss} has none; leave "
                    f"it out, or choose the loss cosface or arcface"
                )
            filled["classification"] = {**config_to_json(_SOFTMAX), **loss} if softmax and alone else loss
        if values.get("micro") is False and (named := [name for name in _OF_MICRO if name in values]):
            raise ConfigError(
                f"{where}micro is false, which leaves nothing for {' and '.join(named)} to say; leave that out"
            )
        return config_from_mapping(cls, {**values, **filled}, where)

    @property
    def share(self) -> float:
        """Share of each class's training images that judge candidates, where such images do."""
        return _HELD_OUT if self.held_out is None else self.held_out

    def training(self, arch: str, epochs: int) -> GalleryConfig | QueryConfig:
        """How a network of this search is trained: against the gallery run for r3, otherwise by itself.

        Args:
            arch: Architecture name.
            epochs: Passes over the images.
        """
        if self.objective == "r3":
            return QueryConfig(
                source=self.source,
                gallery=str(self.gallery),
                method=self.method or "bct",
                arch=arch,
                stem_stride=self.stem_stride,
                regression=self.regression,
                mixed=self.mixed,
                classification=self.classification,
                optimisation=self.optimisation.of(epochs),
                augmentation=self.augmentation,
                execution=self.execution,
                license=self.license,
            )
        return GalleryConfig(
            source=self.source,
            arch=arch,
            dim=128 if self.dim is None else self.dim,
            stem_stride=self.stem_stride,
            preprocessing=self.preprocessing or Preprocessing(size=_SIZE),
            classification=self.classification or _SOFTMAX,
            optimisation=self.optimisation.of(epochs),
            augmentation=self.augmentation,
            execution=self.execution,
            license=self.license,
        )

    def _check_objective(self) -> None:
        """Refuses settings that the objective would ignore, and r3 without what it is measured against."""
        if self.objective == "r3":
            if self.gallery is None:
                raise ConfigError("objective 'r3' is measured against a gallery model; set gallery to its RUN folder")
            if self.method == "finetune":
                raise ConfigError(
                    "method 'finetune' starts from the gallery model's weights, which no network of this space can "
                    "take; choose another, such as 'bct'"
                )
            for name, value in (("dim", self.dim), ("preprocessing (size)", self.preprocessing)):
                if value is not None:
                    raise ConfigError(f"{name} is set, but objective 'r3' takes the gallery run's; leave it out")
            if self.held_out is not None:
                raise ConfigError(
                    "held_out is set, but objective 'r3' is measured on the dataset's split 'val', whose identities "
                    "the gallery model never saw; leave it out"
                )
            return
        given = {"gallery": self.gallery, "method": self.method, "regression": self.regression}
        named = [name for name, value in given.items() if value is not None] + ["mixed"] * self.mixed
        if named:
            raise ConfigError(f"objective {self.objective!r} has no gallery model; leave out {', '.join(named)}")
