"""What a training run is told, as frozen dataclasses that refuse values which cannot work."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.scenario import Scenario
from compat_train.config.settings import ADDED, check_choice, check_range, config_from_mapping, config_to_json

__all__ = [
    "ADDED",
    "Augmentation",
    "Classification",
    "Execution",
    "GalleryConfig",
    "Inheritance",
    "Optimisation",
    "QueryConfig",
    "QueryMethod",
    "Scenario",
    "Selection",
    "Source",
    "Unseen",
    "check_choice",
    "check_range",
    "config_from_mapping",
    "config_to_json",
]

QueryMethod = Literal["vanilla", "kd", "finetune", "bct", "classifier", "regression", "bct-regression", "dmu", "lce"]
Inheritance = Literal["auto", "none", "leading", "magnitude", "channel"]
Selection = Literal["uniform", "entropy", "least-confidence", "certainty"]
Unseen = Literal["skip", "prototypes", "all-prototypes", "lwf"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random views of the training images; all zero means the images as they are."""

    shift: float = 0.0  # largest move, fraction of the side
    zoom: float = 0.0  # largest relative change of scale
    rotate: float = 0.0  # largest turn, degrees
    flip: bool = False  # mirror half of the images
    colour: float = 0.0  # largest relative change of brightness, contrast and saturation
    cutout: float = field(default=0.0, metadata=ADDED)  # side of a blanked square, fraction of the side

    def __post_init__(self) -> None:
        check_range("augmentation.shift", self.shift, 0, 0.5)
        check_range("augmentation.zoom", self.zoom, 0, 0.9)
        check_range("augmentation.rotate", self.rotate, 0, 180)
        check_range("augmentation.colour", self.colour, 0, 0.99)
        check_range("augmentation.cutout", self.cutout, 0, 1)

    @property
    def views(self) -> int | None:
        """How many different views an image has: 1, 2 (flip only), or None when they are endless."""
        if self.shift or self.zoom or self.rotate or self.colour or self.cutout:
            return None
        return 2 if self.flip else 1


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """SGD with momentum or Adam, warm-up, and cosine or stepwise decay."""

    epochs: int = 16  # passes over the training split
    batch: int = 320  # images per step
    lr: float = 0.1  # highest learning rate
    momentum: float = 0.9  # SGD momentum, or Adam's first beta; its second is 0.999
    weight_decay: float = 5e-4  # on weights with more than one axis; biases and batch norms have none
    schedule: Literal["cosine", "step"] = "cosine"  # decay after the warm-up
    milestones: tuple[int, ...] = ()  # epochs after which schedule "step" divides the rate by 10
    warmup_epochs: float = 1.0  # epochs of linear growth from 0
    optimiser: Literal["sgd", "adam"] = field(default="sgd", metadata=ADDED)  # Adam decays weights in its gradient
    gradient_norm: float = field(default=0.0, metadata=ADDED)  # longer gradients are shortened to it; 0: none are

    def __post_init__(self) -> None:
        check_range("optimisation.epochs", self.epochs, 1)
        check_range("optimisation.batch", self.batch, 2)
        check_range("optimisation.lr", self.lr, 0, open_low=True)
        check_range("optimisation.momentum", self.momentum, 0, 0.9999)
        check_range("optimisation.weight_decay", self.weight_decay, 0)
        check_range("optimisation.warmup_epochs", self.warmup_epochs, 0, self.epochs)
        check_choice("optimisation.schedule", self.schedule, ("cosine", "step"))
        check_choice("optimisation.optimiser", self.optimiser, ("sgd", "adam"))
        check_range("optimisation.gradient_norm", self.gradient_norm, 0)
        if self.schedule == "cosine" and self.milestones:
            raise ConfigError("optimisation.milestones needs schedule 'step'; the schedule is 'cosine'")
        if self.schedule == "step" and not self.milestones:
            raise ConfigError("optimisation.schedule 'step' needs milestones, the epochs after which lr is divided")


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The classification loss L1 of seed 000, Eq. 1.

    Seed 003 takes arcface, with margin 0.3 and scale 30 on landmarks, 0.5 and 64 on faces.
    """

    loss: Literal["cosface", "arcface", "norm-softmax"] = "cosface"
    margin: float = 0.4  # of cosface in cosine, of arcface in radians; unused by norm-softmax
    scale: float = 64.0  # factor on the cosines; 1 / temperature

    def __post_init__(self) -> None:
        check_choice("classification.loss", self.loss, ("cosface", "arcface", "norm-softmax"))
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
    scenario: Scenario = field(default=Scenario(), metadata=ADDED)  # which part of the training split

    def __post_init__(self) -> None:
        check_range("unreadable", self.unreadable, 0)


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
    """A model trained against an older or larger one, the gallery run: seed 000, Eq. 1, and the new model of seed 003.

    The loss is ``own * L1(own classifier) + gallery * L1(gallery classifier) + kd * distillation +
    regression * (1 - cosine) + alignment * |own classifier - centres|² + boundary * excess + adaptation * L1(own
    classifier, psi(gallery embedding))``; a method is a choice of these weights, and any weight can be set apart.
    `compat_train.methods.objective` explains the terms.
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
    alignment: float | None = field(default=None, metadata=ADDED)  # weight of lce's alignment of class weights
    boundary: float | None = field(default=None, metadata=ADDED)  # weight of lce's bound on the angle to the centres
    adaptation: float | None = field(default=None, metadata=ADDED)  # weight of psi's loss; psi goes to RUN/adaptation
    adaptation_width: int = field(default=1024, metadata=ADDED)  # of psi's hidden layers
    selection: Selection | None = field(default=None, metadata=ADDED)  # how dmu weighs images; None: by entropy
    selection_scale: float = field(default=1.0, metadata=ADDED)  # factor on the old model's cosines; seed 003 has none
    selection_temperature: float = field(default=1.0, metadata=ADDED)  # of the softmax over the batch; likewise
    unseen: Unseen | None = field(default=None, metadata=ADDED)  # classes the gallery model never saw; None: prototypes
    role: Literal["query", "gallery"] = field(default="query", metadata=ADDED)  # gallery: to embed galleries as well
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
        check_choice("selection", self.selecting, typing.get_args(Selection))
        check_choice("unseen", self.unseen_as, typing.get_args(Unseen))
        check_choice("role", self.role, ("query", "gallery"))
        check_range("adaptation_width", self.adaptation_width, 1, 65536)
        check_range("selection_scale", self.selection_scale, 0, open_low=True)
        check_range("selection_temperature", self.selection_temperature, 0, open_low=True)
        _check_selection(self)
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
            "vanilla": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            "kd": (1.0, 0.0, 1.0, 0.0, 0.0, 0.0),
            "finetune": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            "bct": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0),
            "classifier": (0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
            "regression": (0.0, 0.0, 0.0, 20.0, 0.0, 0.0),
            "bct-regression": (1.0, 1.0, 0.0, 20.0, 0.0, 0.0),
            "dmu": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0),
            "lce": (1.0, 0.0, 0.0, 0.0, 100.0, 1.0),
        }[self.method]
        chosen = (self.own, self.gallery_term, self.kd, self.regression, self.alignment, self.boundary)
        names = ("own", "gallery", "kd", "regression", "alignment", "boundary")
        found = {name: own if given is None else given for name, own, given in zip(names, preset, chosen, strict=True)}
        return found | {"adaptation": float(self.method == "dmu") if self.adaptation is None else self.adaptation}

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
        drawing = ("gallery", "regression", "alignment", "boundary")
        return self.method == "finetune" or any(self.weights[name] for name in drawing)

    @property
    def selecting(self) -> Selection:
        """How images are weighed in the terms that draw them to the old model; "uniform" for every method but dmu."""
        return self.selection or ("entropy" if self.method == "dmu" else "uniform")

    @property
    def unseen_as(self) -> Unseen:
        """What a class is to the gallery model's classifier that it never saw; see `methods.unseen_classes`."""
        return self.unseen or "prototypes"


def _check_selection(config: QueryConfig) -> None:
    if config.method != "dmu" and config.selecting != "uniform":
        raise ConfigError(f"selection is {config.selecting!r} and method {config.method!r}; it needs method 'dmu'")
    if config.selecting == "uniform" and (config.selection_scale != 1.0 or config.selection_temperature != 1.0):
        raise ConfigError("selection 'uniform' has no scale and no temperature; leave both out")
    if config.selecting == "certainty" and config.selection_temperature != 1.0:
        raise ConfigError("selection 'certainty' has no softmax over the batch; leave selection_temperature out")
    if config.selecting != "uniform" and config.mixed:
        raise ConfigError("mixed images have no weights under dmu's selection; leave mixed out, or select 'uniform'")
    if config.unseen not in (None, "skip") and not config.weights["gallery"]:
        raise ConfigError(
            f"unseen is {config.unseen!r}, which is about the loss under the gallery model's classifier, and that has "
            f"weight 0 here; leave unseen out, or set gallery_term above 0"
        )


def _check_model(dim: int, width: float, stem_stride: int) -> None:
    check_range("dim", dim, 2, 65536)
    check_range("width", width, 0, 16, open_low=True)
    if stem_stride not in (1, 2):
        raise ConfigError(f"stem_stride is {stem_stride!r}; expected 1 or 2")
