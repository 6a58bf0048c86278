"""What a training run is told, as frozen dataclasses that refuse values which cannot work."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from compat_sdk.errors import ConfigError
from compat_sdk.preprocess import Preprocessing

QueryMethod = Literal["vanilla", "kd", "finetune", "bct", "classifier", "regression", "bct-regression"]
Inheritance = Literal["auto", "none", "leading", "magnitude", "channel"]
ConfigT = TypeVar("ConfigT")


def check_range(name: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False) -> None:
    """Refuses, with a ConfigError, a value outside ``[low, high]``, or at ``low`` with ``open_low``."""
    if not (low < value if open_low else low <= value) or not value <= high:
        bound = f"above {low:g}" if open_low else f"at least {low:g}"
        upper = "" if high == float("inf") else f" and at most {high:g}"
        raise ConfigError(f"{name} is {value!r}; expected {bound}{upper}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses, with a ConfigError, a value that is not among ``allowed``."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random views of the training images; all zero means the images as they are."""

    shift: float = 0.0  # largest move, fraction of the side
    zoom: float = 0.0  # largest relative change of scale
    rotate: float = 0.0  # largest turn, degrees
    flip: bool = False  # mirror half of the images
    colour: float = 0.0  # largest relative change of brightness, contrast and saturation

    def __post_init__(self) -> None:
        check_range("augmentation.shift", self.shift, 0, 0.5)
        check_range("augmentation.zoom", self.zoom, 0, 0.9)
        check_range("augmentation.rotate", self.rotate, 0, 180)
        check_range("augmentation.colour", self.colour, 0, 0.99)

    @property
    def views(self) -> int | None:
        """How many different views an image has: 1, 2 (flip only), or None when they are endless."""
        if self.shift or self.zoom or self.rotate or self.colour:
            return None
        return 2 if self.flip else 1


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """SGD with momentum, warm-up, and cosine or stepwise decay."""

    epochs: int = 16  # passes over the training split
    batch: int = 320  # images per step
    lr: float = 0.1  # highest learning rate
    momentum: float = 0.9  # SGD momentum
    weight_decay: float = 5e-4  # on weights with more than one axis; biases and batch norms have none
    schedule: Literal["cosine", "step"] = "cosine"  # decay after the warm-up
    milestones: tuple[int, ...] = ()  # epochs after which schedule "step" divides the rate by 10
    warmup_epochs: float = 1.0  # epochs of linear growth from 0

    def __post_init__(self) -> None:
        check_range("optimisation.epochs", self.epochs, 1)
        check_range("optimisation.batch", self.batch, 2)
        check_range("optimisation.lr", self.lr, 0, open_low=True)
        check_range("optimisation.momentum", self.momentum, 0, 0.9999)
        check_range("optimisation.weight_decay", self.weight_decay, 0)
        check_range("optimisation.warmup_epochs", self.warmup_epochs, 0, self.epochs)
        check_choice("optimisation.schedule", self.schedule, ("cosine", "step"))
        if self.schedule == "cosine" and self.milestones:
            raise ConfigError("optimisation.milestones needs schedule 'step'; the schedule is 'cosine'")
        if self.schedule == "step" and not self.milestones:
            raise ConfigError("optimisation.schedule 'step' needs milestones, the epochs after which lr is divided")


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The classification loss L1 of seed 000, Eq. 1."""

    loss: Literal["cosface", "norm-softmax"] = "cosface"
    margin: float = 0.4  # cosine margin of cosface; unused by norm-softmax
    scale: float = 64.0  # factor on the cosines; 1 / temperature

    def __post_init__(self) -> None:
        check_choice("classification.loss", self.loss, ("cosface", "norm-softmax"))
        check_range("classification.margin", self.margin, 0, 1)
        check_range("classification.scale", self.scale, 0, open_low=True)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how precisely a run computes."""

    seed: int = 0  # source of all randomness
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda when there is one
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 autocast on cuda, fp32 on the CPU
    threads: int = 0  # CPU threads; 0: as many as torch chooses
    checkpoint_steps: int = 0  # steps between resume points; 0: every epoch and every minute

    def __post_init__(self) -> None:
        check_range("execution.seed", self.seed, 0)
        check_range("execution.threads", self.threads, 0)
        check_range("execution.checkpoint_steps", self.checkpoint_steps, 0)
        check_choice("execution.device", self.device, ("auto", "cpu", "cuda"))
        check_choice("execution.precision", self.precision, ("auto", "fp32", "bf16"))


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images a run learns from."""

    data: str  # folder, CSV manifest or dataset name
    root: str | None = None  # where a named dataset's files are
    unreadable: int = 0  # corrupt images that are left out with a warning before it becomes an error


@dataclass(frozen=True, kw_only=True)
class GalleryConfig:
    """A gallery model: seed 000, section 4.2."""

    source: Source
    arch: str = "resnet101"
    dim: int = 128  # embedding dimension
    width: float = 1.0  # factor on the channel counts
    stem_stride: int = 1  # stride of the first convolution; 1 at 112 pixels equals 2 at 224
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(size=112))
    classification: Classification = Classification()
    optimisation: Optimisation = Optimisation()
    augmentation: Augmentation = Augmentation()
    execution: Execution = Execution()
    license: str = "unspecified"  # licence of the trained weights

    def __post_init__(self) -> None:
        _check_model(self.dim, self.width, self.stem_stride)


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """A query model trained against a gallery run: seed 000, Eq. 1.

    The loss is ``own * L1(own classifier) + gallery * L1(gallery classifier) + kd * distillation +
    regression * (1 - cosine)``; a method is a choice of these weights, and any weight can be set apart.
    """

    source: Source
    gallery: str  # RUN folder of the gallery model
    method: QueryMethod = "bct"
    arch: str = "mobilenet_v2"
    width: float = 1.0  # factor on the channel counts
    stem_stride: int = 1  # stride of the first convolution
    inherit: Inheritance = "auto"  # where the starting weights come from; `inheritance` says what auto means
    own: float | None = None  # weight of the loss under the query model's own classifier
    gallery_term: float | None = None  # weight of the loss under the gallery model's frozen classifier
    kd: float | None = None  # weight of the distillation term
    regression: float | None = None  # weight of the regression to the gallery model's embedding
    temperature: float = 4.0  # of the distillation term
    mixed: bool = False  # regress on cut-and-paste images too; they double the cost of a step
    classification: Classification | None = None  # None: the gallery run's
    optimisation: Optimisation = Optimisation(epochs=32, lr=1.3)
    augmentation: Augmentation = Augmentation()
    execution: Execution = Execution()
    license: str = "unspecified"  # licence of the trained weights

    def __post_init__(self) -> None:
        check_choice("method", self.method, typing.get_args(QueryMethod))
        check_choice("inherit", self.inherit, typing.get_args(Inheritance))
        if self.method == "finetune" and self.inherit == "none":
            raise ConfigError(
                "method 'finetune' starts from the gallery model's weights, but inherit is 'none'; leave inherit out, "
                "or choose method 'vanilla'"
            )
        _check_model(2, self.width, self.stem_stride)
        check_range("temperature", self.temperature, 0, open_low=True)
        weights = self.weights
        for name, weight in weights.items():
            check_range(name, weight, 0)
        if not any(weights.values()):
            raise ConfigError("all loss weights are 0; nothing would be learned")
        if self.mixed and not weights["regression"]:
            raise ConfigError(
                "mixed images carry no labels, so they need the regression term; set regression above 0 or "
                "choose method 'regression' or 'bct-regression'"
            )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, the method's own where none was set."""
        preset = {
            "vanilla": (1.0, 0.0, 0.0, 0.0),
            "kd": (1.0, 0.0, 1.0, 0.0),
            "finetune": (1.0, 0.0, 0.0, 0.0),
            "bct": (1.0, 1.0, 0.0, 0.0),
            "classifier": (0.0, 1.0, 0.0, 0.0),
            "regression": (0.0, 0.0, 0.0, 20.0),
            "bct-regression": (1.0, 1.0, 0.0, 20.0),
        }[self.method]
        chosen = (self.own, self.gallery_term, self.kd, self.regression)
        names = ("own", "gallery", "kd", "regression")
        return {
            name: standard if given is None else given
            for name, standard, given in zip(names, preset, chosen, strict=True)
        }

    @property
    def inheritance(self) -> Literal["none", "leading", "magnitude", "channel"]:
        """Which of the gallery model's weights the query model starts from; "none" for fresh ones.

        "auto" inherits for finetune only: by magnitude for a pruned architecture, else the leading channels.
        """
        if self.inherit != "auto":
            return self.inherit
        if self.method != "finetune":
            return "none"
        return "magnitude" if "_pruned" in self.arch else "leading"

    @property
    def compatible(self) -> bool:
        """Whether training draws the model into the gallery's space, so that it may declare to search it."""
        return self.method == "finetune" or bool(self.weights["gallery"] or self.weights["regression"])


def _check_model(dim: int, width: float, stem_stride: int) -> None:
    check_range("dim", dim, 2, 65536)
    check_range("width", width, 0, 16, open_low=True)
    if stem_stride not in (1, 2):
        raise ConfigError(f"stem_stride is {stem_stride!r}; expected 1 or 2")


def config_to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values, nested as its dataclasses are."""
    return asdict(config)


def config_from_mapping(kind: type[ConfigT], values: Mapping[str, Any], where: str = "") -> ConfigT:
    """A configuration from nested mappings, such as a TOML recipe.

    Args:
        kind: One of the dataclasses of this module.
        values: Field values; lists become tuples. Missing fields keep their defaults.
        where: Dotted place of ``values``, for messages.

    Raises:
        ConfigError: A field is unknown, missing or of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(where + name for name in unknown)}; known here: {', '.join(known)}"
        )
    missing = [
        name
        for name, entry in known.items()
        if name not in values and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"missing setting {', '.join(where + name for name in missing)}")
    return kind(**{name: _convert(hints[name], value, where + name) for name, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected a table of settings")
        return config_from_mapping(typing.cast(type[Any], hint), value, where + ".")
    origin = typing.get_origin(hint)
    if origin is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, entry, where) for entry in value)
    if origin is Literal:
        check_choice(where, value, typing.get_args(hint))
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"{where} is {value!r}; expected {hint.__name__}")
    return value
