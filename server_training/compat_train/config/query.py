"""What training a query model is told, or a new model for an old gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from compat_sdk.errors import ConfigError
from compat_train.config.checks import check_choices, check_range
from compat_train.config.fields import about, setting
from compat_train.config.gallery import check_model
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source

QueryMethod = Literal["vanilla", "kd", "finetune", "bct", "classifier", "regression", "bct-regression", "dmu", "lce"]
Inheritance = Literal["auto", "none", "leading", "magnitude", "channel"]
Selection = Literal["uniform", "entropy", "least-confidence", "certainty"]
Unseen = Literal["skip", "prototypes", "all-prototypes", "lwf"]

_TERMS = ("own", "gallery", "kd", "regression", "alignment", "boundary", "adaptation")
_OF_LABELS = ("own", "gallery", "kd", "alignment", "boundary", "adaptation")
"""Terms that look at the labels of images."""
_WEIGHTS: Mapping[QueryMethod, tuple[float, ...]] = {
    "vanilla": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "kd": (1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    "finetune": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "bct": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "classifier": (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "regression": (0.0, 0.0, 0.0, 20.0, 0.0, 0.0, 0.0),
    "bct-regression": (1.0, 1.0, 0.0, 20.0, 0.0, 0.0, 0.0),
    "dmu": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    "lce": (1.0, 0.0, 0.0, 0.0, 100.0, 1.0, 0.0),
}


def method_weights(term: str) -> dict[str, float]:
    """Weight of a term of the loss by method, where none is set apart."""
    return {method: weights[_TERMS.index(term)] for method, weights in _WEIGHTS.items()}


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """A model trained against an older or larger one, the gallery run: seed 000, Eq. 1, and the new model of seed 003.

    The loss is ``own * L1(own classifier) + gallery * L1(gallery classifier) + kd * distillation +
    regression * (1 - cosine) + alignment * |own classifier - centres|² + boundary * excess + adaptation * L1(own
    classifier, psi(gallery embedding))``; a method is a choice of these weights, and any weight can be set apart.
    `compat_train.methods.objective` explains the terms.
    """

    source: Source = field(metadata=about("the images it learns from"))
    gallery: str = field(metadata=about("RUN folder of the gallery model, or of the old model"))
    method: QueryMethod = setting("bct", "which terms the loss has")
    arch: str = setting("mobilenet_v2", "architecture name")
    width: float = setting(1.0, "factor on the channel counts")
    stem_stride: int = setting(1, "stride of the first convolution", unit="pixels")
    inherit: Inheritance = setting(
        "auto", "where the starting weights come from; auto: fresh ones, and the gallery model's for finetune"
    )
    own: float | None = setting(
        None, "weight of the loss under the model's own classifier", otherwise=method_weights("own")
    )
    gallery_term: float | None = setting(
        None, "weight of the loss under the gallery model's frozen classifier", otherwise=method_weights("gallery")
    )
    kd: float | None = setting(None, "weight of the distillation term", otherwise=method_weights("kd"))
    regression: float | None = setting(
        None, "weight of the regression to the gallery model's embedding", otherwise=method_weights("regression")
    )
    temperature: float = setting(4.0, "temperature of the distillation term")
    alignment: float | None = setting(
        None, "weight of lce's alignment of class weights", otherwise=method_weights("alignment"), added=True
    )
    boundary: float | None = setting(
        None,
        "weight of lce's bound on the angle to the old class centres",
        otherwise=method_weights("boundary"),
        added=True,
    )
    adaptation: float | None = setting(
        None,
        "weight of the loss of psi, dmu's forward adaptation, which goes to RUN/adaptation",
        otherwise=method_weights("adaptation"),
        added=True,
    )
    adaptation_width: int = setting(1024, "width of psi's hidden layers", unit="numbers", added=True)
    selection: Selection | None = setting(
        None,
        "how dmu weighs images in the terms that draw them to the old model",
        otherwise={"dmu": "entropy", "other methods": "uniform"},
        added=True,
    )
    selection_scale: float = setting(
        1.0, "factor on the old model's cosines in the selection; seed 003 has none", added=True
    )
    selection_temperature: float = setting(
        1.0, "temperature of the selection's softmax over the batch; seed 003 has none", added=True
    )
    unseen: Unseen | None = setting(
        None, "what a class is that the gallery model never saw", otherwise="prototypes", added=True
    )
    role: Literal["query", "gallery"] = setting(
        "query", "what it is for; gallery: a new model that embeds galleries as well", added=True
    )
    mixed: bool = setting(False, "regress on cut-and-paste images too; they double the cost of a step")
    classification: Classification | None = setting(None, "its loss", otherwise="the gallery run's")
    optimisation: Optimisation = setting(Optimisation(epochs=32, lr=1.3), "how long and how fast")
    augmentation: Augmentation = setting(Augmentation(), "random changes of the training images")
    execution: Execution = setting(Execution(), "where it runs")
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.method == "finetune" and self.inherit == "none":
            raise ConfigError(
                "method 'finetune' starts from the gallery model's weights, but inherit is 'none'; leave inherit out, "
                "or choose method 'vanilla'"
            )
        check_model(2, self.width, self.stem_stride)
        check_range("temperature", self.temperature, 0, open_low=True)
        check_range("adaptation_width", self.adaptation_width, 1, 65536)
        check_range("selection_scale", self.selection_scale, 0, open_low=True)
        check_range("selection_temperature", self.selection_temperature, 0, open_low=True)
        _check_selection(self)
        weights = self.weights
        for name, weight in weights.items():
            check_range("gallery_term" if name == "gallery" else name, weight, 0)
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
        chosen = (
            *(self.own, self.gallery_term, self.kd, self.regression),
            *(self.alignment, self.boundary, self.adaptation),
        )
        preset = _WEIGHTS[self.method]
        return {name: own if given is None else given for name, own, given in zip(_TERMS, preset, chosen, strict=True)}

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
    def labels_for(self) -> str | None:
        """What in this training needs labels, for an error; None where images without labels will do."""
        if self.method == "finetune" or any(self.weights[name] for name in _OF_LABELS):
            return f"method {self.method!r}"
        return None

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
