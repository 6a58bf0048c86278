"""What training an upgrade is told: the side-information encoder, and the transform into a new model's space."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.checks import check_choice, check_choices, check_range
from compat_train.config.fields import about, setting
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source

SideInfoMethod = Literal["simclr", "autoencoder", "alternate", "mixup"]
UpgradeMethod = Literal["fct", "dmu"]

OPTIMISATION: Mapping[UpgradeMethod, Optimisation] = {
    "fct": Optimisation(epochs=80, batch=1024, lr=5e-4, weight_decay=2**-15, warmup_epochs=5.0, optimiser="adam"),
    "dmu": Optimisation(epochs=30, batch=512, lr=0.1, weight_decay=1e-4, warmup_epochs=1.0),
}
"""How the papers train their transforms."""
VIEWS = Augmentation(shift=0.15, zoom=0.3, rotate=10, colour=0.5)
"""What simclr does to an image when nothing else is asked for."""

_VIEWS: Mapping[SideInfoMethod, Augmentation] = {
    "simclr": VIEWS,
    "autoencoder": Augmentation(),
    "alternate": Augmentation(),
    "mixup": Augmentation(),
}
_TERMS = ("l2", "arc", "regression")
_WEIGHTS: Mapping[UpgradeMethod, tuple[float, ...]] = {"fct": (1.0, 0.0, 0.0), "dmu": (0.0, 1.0, 0.0)}
_HIDDEN: Mapping[UpgradeMethod, int] = {"fct": 2048, "dmu": 1024}
_FROZEN: Mapping[UpgradeMethod, float] = {"fct": 0.5, "dmu": 1.0}  # half for fct is its paper's code


def _weights(term: str) -> dict[str, float]:
    return {method: weights[_TERMS.index(term)] for method, weights in _WEIGHTS.items()}


@dataclass(frozen=True, kw_only=True)
class SideInfoConfig:
    """A small encoder whose embeddings are stored beside the old model's: FCT, section 5.1.

    ``simclr`` and ``autoencoder`` look at no label. ``alternate`` is the old model's training again with another
    seed, and ``mixup`` the same on mixed images.
    """

    source: Source = field(metadata=about("the images it learns from"))
    method: SideInfoMethod = setting("simclr", "how it is trained")
    arch: str = setting("mobilenet_v2_0.5", "architecture name")
    dim: int = setting(128, "numbers of side-information per image", unit="numbers")
    width: float = setting(1.0, "factor on the channel counts")
    stem_stride: int = setting(1, "stride of the first convolution", unit="pixels")
    preprocessing: Preprocessing = setting(Preprocessing(size=112), "what is done to an image first")
    temperature: float = setting(0.1, "temperature of simclr's softmax over cosines")
    projection: int = setting(128, "numbers behind simclr's projection head, where its loss looks", unit="numbers")
    channels: int = setting(64, "channels of the autoencoder's decoder at its smallest side", unit="channels")
    mixing: float = setting(0.2, "both parameters of mixup's Beta distribution")
    mix_labels: bool = setting(False, "mixup: mix the labels too, as its own paper does; FCT mixes images only")
    classification: Classification = setting(Classification(), "loss of alternate and mixup")
    optimisation: Optimisation = setting(Optimisation(), "how long and how fast")
    augmentation: Augmentation | None = setting(None, "random changes of the training images", otherwise=_VIEWS)
    execution: Execution = setting(Execution(), "where it runs")
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    def __post_init__(self) -> None:
        check_choices(self)
        check_range("dim", self.dim, 2, 65536)
        check_range("width", self.width, 0, 16, open_low=True)
        check_range("temperature", self.temperature, 0, open_low=True)
        check_range("projection", self.projection, 2)
        check_range("channels", self.channels, 8)
        check_range("mixing", self.mixing, 0, open_low=True)
        self.random_views.refuse_canvas("a side-information encoder")
        if self.method == "simclr" and self.random_views.views == 1:
            raise ConfigError(
                "method 'simclr' compares two random views of each image, but augmentation is all zero, so both would "
                "be the same; leave augmentation out, or set shift, zoom, rotate, flip, colour or cutout"
            )

    @classmethod
    def defaults_for(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a table of augmentation lies over: the method's own."""
        method = values.get("method", "simclr")
        return {"augmentation": _VIEWS[method]} if values.get("augmentation") is not None and method in _VIEWS else {}

    @property
    def random_views(self) -> Augmentation:
        """Augmentation, the method's own where none was set."""
        return _VIEWS[self.method] if self.augmentation is None else self.augmentation

    @property
    def labelled(self) -> bool:
        """Whether the method looks at labels."""
        return self.method in ("alternate", "mixup")


@dataclass(frozen=True, kw_only=True)
class UpgradeConfig:
    """A transform of old embeddings into a new model's space.

    The loss is ``l2 * |h - new|^2 + arc * L1(new classifier) + regression * (1 - cosine)``; a method is a network
    and a choice of these weights, and any weight can be set apart. All three models stay as they are.
    """

    source: Source | None = setting(
        None, "images that the new model was trained on; left out where old and new are stored vectors"
    )
    old: str = field(metadata=about("RUN folder of the old model, which embedded the gallery; or its stored vectors"))
    new: str = field(
        metadata=about(
            "RUN folder of the new model, trained on its own; a side-information encoder gives FCT's g; or vectors"
        )
    )
    side: str | None = setting(
        None, "stored side-information beside stored vectors", otherwise="no side-information", added=True
    )
    old_space: str | None = setting(None, "space of stored old vectors", otherwise="what they name", added=True)
    new_space: str | None = setting(None, "space of stored new vectors", otherwise="what they name", added=True)
    side_space: str | None = setting(None, "space of stored side-information", otherwise="what it names", added=True)
    held_out: float = setting(
        0.2, "part of stored vectors that ends the training and judges the transform", unit="fraction", added=True
    )
    side_info: str | None = setting(None, "RUN folder of the side-information encoder", otherwise="no side-information")
    # A gallery that was upgraded before holds no vectors of a model.
    through: tuple[str, ...] = setting(
        (), "RUN of each transform that the gallery was upgraded by before, in order", added=True
    )
    side_through: tuple[str, ...] = setting(
        (), "RUN of each g that carried its side-information on, in order", added=True
    )
    method: UpgradeMethod = setting("fct", "the network and its loss")
    hidden: int | None = setting(None, "width of the hidden layers", unit="numbers", otherwise=_HIDDEN)
    l2: float | None = setting(None, "weight of the squared distance to the new embedding", otherwise=_weights("l2"))
    arc: float | None = setting(
        None, "weight of the loss under the new model's frozen classifier", otherwise=_weights("arc")
    )
    regression: float | None = setting(
        None, "weight of one minus the cosine to the new embedding", otherwise=_weights("regression")
    )
    frozen_norm: float | None = setting(
        None,
        "part of the run after which batch norms use their running statistics",
        unit="fraction",
        otherwise=_FROZEN,
    )
    classification: Classification | None = setting(None, "loss of arc", otherwise="the new run's")
    optimisation: Optimisation | None = setting(None, "how long and how fast", otherwise=OPTIMISATION)
    augmentation: Augmentation = setting(Augmentation(), "random changes of the training images")
    execution: Execution = setting(Execution(), "where it runs")
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    def __post_init__(self) -> None:
        check_choices(self)
        self._check_what_is_learnt_from()
        if self.method == "dmu" and self.side_info is not None:
            raise ConfigError(
                "method 'dmu' adapts the old embedding alone, but side_info is given; leave it out, or choose "
                "method 'fct'"
            )
        if self.side_through and self.side_info is None:
            raise ConfigError("side_through is set, but side_info is not: there is no side-information to carry on")
        if not len(self.through) - 1 <= len(self.side_through) <= len(self.through) and self.side_info is not None:
            raise ConfigError(
                f"side_through has {len(self.side_through)} transforms and through {len(self.through)}; expected one g "
                f"per upgrade, or one fewer where the last left no side-information"
            )
        self.augmentation.refuse_canvas("an upgrade")
        check_range("hidden", self.width, 1, 65536)
        check_range("frozen_norm", self.frozen_after, 0, 1)
        for name, weight in self.weights.items():
            check_range(name, weight, 0)
        if not any(self.weights.values()):
            raise ConfigError("all loss weights are 0; nothing would be learned")
        if self.classification is not None and not self.weights["arc"]:
            raise ConfigError(
                "classification is set, but arc, the weight of that loss, is 0; leave classification out, or set arc "
                "above 0"
            )

    def _check_what_is_learnt_from(self) -> None:
        """Either images and RUNs, or stored vectors."""
        check_range("held_out", self.held_out, 0.02, 0.5)
        of_images = ("side_info", "through", "side_through", "arc", "classification")
        of_vectors = ("side", "old_space", "new_space", "side_space")
        for name in of_images if self.source is None else of_vectors:
            if getattr(self, name):
                where = "stored vectors, as no data is given" if self.source is None else "images"
                raise ConfigError(f"{name} means nothing where the transform learns from {where}; leave it out")
        if self.source is None and self.method == "dmu" and self.side is not None:
            raise ConfigError("method 'dmu' adapts the old embedding alone, but side is given; choose method 'fct'")
        if self.source is None and self.side_space is not None and self.side is None:
            raise ConfigError("side_space is set, but side is not: there is no side-information")

    @property
    def images(self) -> Source:
        """The images it learns from.

        Raises:
            ConfigError: It learns from stored vectors.
        """
        if self.source is None:
            raise ConfigError("data is missing: the transform learns from stored vectors")
        return self.source

    @classmethod
    def defaults_for(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """How the method's paper trains; a shorter run has a shorter warm-up, unless one is set."""
        method = values.get("method", "fct")
        check_choice("method", method, typing.get_args(UpgradeMethod))
        paper, table = OPTIMISATION[method], values.get("optimisation")
        epochs = table.get("epochs") if isinstance(table, Mapping) else None
        source = values.get("source")
        laid: dict[str, Any] = {}
        if isinstance(source, Mapping) and isinstance(source.get("data"), str):
            laid["source"] = Source(data=source["data"])
        if not isinstance(epochs, int):
            return laid | {"optimisation": paper}
        warmup = paper.warmup_epochs * min(1.0, epochs / paper.epochs)
        return laid | {"optimisation": replace(paper, warmup_epochs=warmup)}

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, the method's own where none was set.

        Stored vectors come without the new model's classifier: dmu then draws to the new vectors alone.
        """
        chosen = (self.l2, self.arc, self.regression)
        own = (0.0, 0.0, 1.0) if self.source is None and self.method == "dmu" else _WEIGHTS[self.method]
        return {
            name: weight if given is None else given for name, weight, given in zip(_TERMS, own, chosen, strict=True)
        }

    @property
    def schedule(self) -> Optimisation:
        """Optimisation, that of the method's paper where none was set."""
        return OPTIMISATION[self.method] if self.optimisation is None else self.optimisation

    @property
    def width(self) -> int:
        """Width of the hidden layers, the method's own where none was set."""
        return _HIDDEN[self.method] if self.hidden is None else self.hidden

    @property
    def frozen_after(self) -> float:
        """Fraction of the run after which batch norms are frozen, the method's own where none was set."""
        return _FROZEN[self.method] if self.frozen_norm is None else self.frozen_norm
