"""What training an upgrade is told: the side-information encoder, and the transform into a new model's space."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.settings import ADDED, check_choice, check_range, config_from_mapping
from compat_train.config.training import Augmentation, Classification, Execution, Optimisation, Source

SideInfoMethod = Literal["simclr", "autoencoder", "alternate", "mixup"]
UpgradeMethod = Literal["fct", "dmu"]

OPTIMISATION: Mapping[UpgradeMethod, Optimisation] = {
    "fct": Optimisation(epochs=80, batch=1024, lr=5e-4, weight_decay=2**-15, warmup_epochs=5.0, optimiser="adam"),
    "dmu": Optimisation(epochs=30, batch=512, lr=0.1, weight_decay=1e-4, warmup_epochs=1.0),
}
"""How the papers train their transforms."""
VIEWS = Augmentation(shift=0.15, zoom=0.3, rotate=10, colour=0.5)
"""What simclr does to an image when nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class SideInfoConfig:
    """A small encoder whose embeddings are stored beside the old model's: FCT, section 5.1.

    ``simclr`` and ``autoencoder`` look at no label. ``alternate`` is the old model's training again with another
    seed, and ``mixup`` the same on mixed images.
    """

    source: Source
    method: SideInfoMethod = "simclr"
    arch: str = "mobilenet_v2_0.5"
    dim: int = 128  # numbers of side-information per image
    width: float = 1.0  # factor on the channel counts
    stem_stride: int = 1  # stride of the first convolution
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(size=112))
    temperature: float = 0.1  # of simclr's softmax over cosines
    projection: int = 128  # numbers per image behind simclr's projection head, where its loss looks
    channels: int = 64  # of the autoencoder's decoder at its smallest side
    mixing: float = 0.2  # both parameters of mixup's Beta distribution
    mix_labels: bool = False  # mixup: mix the labels too, as its own paper does; FCT mixes images only
    classification: Classification = field(default_factory=Classification)  # loss of alternate and mixup
    optimisation: Optimisation = field(default_factory=Optimisation)
    augmentation: Augmentation | None = None  # None: `VIEWS` for simclr, the images as they are for the others
    execution: Execution = field(default_factory=Execution)
    license: str = "unspecified"  # licence of the trained weights

    def __post_init__(self) -> None:
        check_choice("method", self.method, typing.get_args(SideInfoMethod))
        check_range("dim", self.dim, 2, 65536)
        check_range("width", self.width, 0, 16, open_low=True)
        check_range("temperature", self.temperature, 0, open_low=True)
        check_range("projection", self.projection, 2)
        check_range("channels", self.channels, 8)
        check_range("mixing", self.mixing, 0, open_low=True)
        if self.method == "simclr" and self.random_views.views == 1:
            raise ConfigError(
                "method 'simclr' compares two random views of each image, but augmentation is all zero, so both would "
                "be the same; leave augmentation out, or set shift, zoom, rotate, flip, colour or cutout"
            )

    @property
    def random_views(self) -> Augmentation:
        """Augmentation, the method's own where none was set."""
        if self.augmentation is not None:
            return self.augmentation
        return VIEWS if self.method == "simclr" else Augmentation()

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

    source: Source  # images that the new model was trained on; their labels count only for ``arc``
    old: str  # RUN folder of the old model
    new: str  # RUN folder of the new model; a side-information encoder gives FCT's g
    side_info: str | None = None  # RUN folder of the side-information encoder; None: no side-information
    # A gallery that was upgraded before holds no vectors of a model: RUN folders of the transforms that `old`'s went
    # through, in order, and of those (FCT's g) that `side_info`'s did.
    through: tuple[str, ...] = field(default=(), metadata=ADDED)
    side_through: tuple[str, ...] = field(default=(), metadata=ADDED)
    method: UpgradeMethod = "fct"
    hidden: int | None = None  # width of the hidden layers; None: 2048 for fct, 1024 for dmu
    l2: float | None = None  # weight of the squared distance to the new embedding
    arc: float | None = None  # weight of the classification loss under the new model's frozen classifier
    regression: float | None = None  # weight of one minus the cosine to the new embedding
    frozen_norm: float | None = None  # fraction of the run after which batch norms use their running statistics
    classification: Classification | None = None  # loss of ``arc``; None: the new run's
    optimisation: Optimisation | None = None  # None: the method's paper's, see `OPTIMISATION`
    augmentation: Augmentation = field(default_factory=Augmentation)
    execution: Execution = field(default_factory=Execution)
    license: str = "unspecified"  # licence of the trained weights

    def __post_init__(self) -> None:
        check_choice("method", self.method, typing.get_args(UpgradeMethod))
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

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, the method's own where none was set."""
        preset = {"fct": (1.0, 0.0, 0.0), "dmu": (0.0, 1.0, 0.0)}[self.method]
        chosen = {"l2": self.l2, "arc": self.arc, "regression": self.regression}
        return {
            name: standard if given is None else given
            for (name, given), standard in zip(chosen.items(), preset, strict=True)
        }

    @property
    def schedule(self) -> Optimisation:
        """Optimisation, that of the method's paper where none was set."""
        return OPTIMISATION[self.method] if self.optimisation is None else self.optimisation

    @property
    def width(self) -> int:
        """Width of the hidden layers, the method's own where none was set."""
        return self.hidden if self.hidden is not None else {"fct": 2048, "dmu": 1024}[self.method]

    @property
    def frozen_after(self) -> float:
        """Fraction of the run after which batch norms are frozen: half for fct (its paper's code), never for dmu."""
        return self.frozen_norm if self.frozen_norm is not None else {"fct": 0.5, "dmu": 1.0}[self.method]


def upgrade_config(values: Mapping[str, Any], where: str = "") -> UpgradeConfig:
    """A configuration from nested mappings; of ``optimisation``, what is missing is the method's paper's.

    A shorter run has a shorter warm-up, unless one is set.

    Args:
        values: Field values.
        where: Dotted place of ``values``, for messages.

    Raises:
        ConfigError: A field is unknown, missing, of the wrong type or out of its range.
    """
    method = values.get("method", "fct")
    check_choice(f"{where}method", method, typing.get_args(UpgradeMethod))
    given = values.get("optimisation") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}optimisation is {given!r}; expected a table of settings")
    preset = asdict(OPTIMISATION[method])
    epochs = given.get("epochs", preset["epochs"])
    if isinstance(epochs, int):
        preset["warmup_epochs"] *= min(1.0, epochs / preset["epochs"])
    return config_from_mapping(UpgradeConfig, {**values, "optimisation": {**preset, **given}}, where)
