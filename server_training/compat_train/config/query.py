"""What training a query model is told, or a new model for an old gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.checks import check_choices, check_range
from compat_train.config.fields import about, setting
from compat_train.config.gallery import check_model, check_weights, published_preprocessing
from compat_train.config.method_terms import (
    CENTRED,
    OF_BANK,
    OF_LABELS,
    TERMS,
    WEIGHTS,
    AnyMethod,
    QueryMethod,
    method_weights,
)
from compat_train.config.parts import (
    Augmentation,
    Classification,
    Execution,
    Optimisation,
    Source,
    check_sampling,
    class_sampling,
)
from compat_train.config.unused_settings import refuse_unused

Inheritance = Literal["auto", "none", "leading", "magnitude", "channel"]
Selection = Literal["uniform", "entropy", "least-confidence", "certainty"]
Start = Literal["fresh", "ridge"]
_ABOVE_0 = ("temperature", "selection_scale", "selection_temperature", "similarity_temperature", "gallery_temperature")
Unseen = Literal["skip", "prototypes", "all-prototypes", "refined-prototypes", "lwf"]


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """A model trained against an older or larger one, the gallery run: CMP-NAS, Eq. 1, and the new model of DMU.

    The loss is ``own * L1(own classifier) + gallery * L1(gallery classifier) + kd * distillation + focal * weighted
    distillation + regression * (1 - cosine) + alignment * |own classifier - centres|² + boundary * excess + adaptation
    * L1(own classifier, psi(gallery embedding)) + csd * divergence over a bank + infonce * cross-entropy over a bank +
    aml * contrastive``; a method is a choice of these weights, and any weight can be set apart.
    `compat_train.methods.objective` explains the terms.
    """

    source: Source = field(metadata=about("the images it learns from"))
    gallery: str = field(metadata=about("RUN folder of the gallery model, or of the old model"))
    method: AnyMethod = setting(
        "bct",
        "which terms the loss has; auto, the command's choice for a gallery model without a classifier: what labels "
        "and gallery model allow, and it says why",
    )
    arch: str = setting("mobilenet_v2", "architecture name")
    width: float = setting(1.0, "factor on the channel counts")
    stem_stride: int = setting(1, "stride of the first convolution", unit="pixels")
    weights: str | None = setting(
        None,
        "file with the network's published weights, .safetensors or torch's; hub: timm downloads them",
        otherwise="fresh ones",
        added=True,
    )
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
    temperature: float = setting(4.0, "temperature of both distillation terms; focal distillation's paper has 100")
    focal: float | None = setting(
        None,
        "weight of distillation under the gallery model's classifier, more of images that it tells",
        otherwise=method_weights("focal"),
        added=True,
    )
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
    adaptation_loss: Literal["classification", "regression"] = setting(
        "classification", "loss of psi: under the model's own classifier, or one minus the cosine", added=True
    )
    through: tuple[str, ...] = setting(
        (), "RUN of each transform that the old gallery was upgraded by before, in order, for psi", added=True
    )
    embedded_by: str | None = setting(
        None, "RUN of the model that embedded the gallery before those upgrades", otherwise="gallery", added=True
    )
    adaptation_width: int = setting(1024, "width of psi's hidden layers", unit="numbers", added=True)
    selection: Selection | None = setting(
        None,
        "how dmu weighs images in the terms that draw them to the old model",
        otherwise={"dmu": "entropy", "other methods": "uniform"},
        added=True,
    )
    selection_scale: float = setting(
        1.0, "factor on the old model's cosines in the selection; DMU has none", added=True
    )
    selection_temperature: float = setting(
        1.0, "temperature of the selection's softmax over the batch; DMU has none", added=True
    )
    unseen: Unseen | None = setting(
        None,
        "what a class is that the gallery model never saw",
        otherwise={"unibct": "refined-prototypes", "other methods": "prototypes"},
        added=True,
    )
    role: Literal["query", "gallery"] = setting(
        "query", "what it is for; gallery: a new model that embeds galleries as well", added=True
    )
    csd: float | None = setting(
        None, "weight of contextual similarity distillation", otherwise=method_weights("csd"), added=True
    )
    infonce: float | None = setting(
        None,
        "weight of finding the image's own gallery vector among others",
        otherwise=method_weights("infonce"),
        added=True,
    )
    aml: float | None = setting(
        None, "weight of asymmetric metric learning", otherwise=method_weights("aml"), added=True
    )
    centring: bool | None = setting(
        None,
        "take the mean of the gallery model's vectors off the targets of regression, csd, infonce and aml",
        otherwise={method: method in CENTRED for method in WEIGHTS},
        added=True,
    )
    bank: int = setting(
        1024, "training images whose gallery vectors csd and infonce compare with", unit="images", added=True
    )
    similarity_temperature: float = setting(
        0.05, "temperature of the query model's cosines in csd and infonce", added=True
    )
    gallery_temperature: float = setting(0.05, "temperature of the gallery model's cosines in csd", added=True)
    aml_margin: float = setting(0.5, "cosine up to which a negative costs aml nothing", unit="cosine", added=True)
    start: Start = setting(
        "fresh",
        "last layer to start from; ridge: the closed-form regression from the network's features to the targets",
        added=True,
    )
    watch: int = setting(
        256,
        "images of the split val on which M(q,g) is shown and logged during training; 0: none",
        unit="images",
        added=True,
    )
    held_out: int | None = setting(
        None,
        "training images that are left out and watched where there is no val",
        unit="images",
        otherwise="none with labels; without, one in twenty, 256 at most",
        added=True,
    )
    preprocessing: Preprocessing | None = setting(
        None,
        "what is done to an image first",
        otherwise="the gallery model's; with weights of a network of timm, what they expect",
        added=True,
    )
    teacher_outputs: str | None = setting(
        None,
        "folder that keeps the gallery model's outputs, for other trainings too",
        otherwise="none; RUN/embeddings, until the model is finished",
        added=True,
    )
    mixed: bool = setting(False, "regress on cut-and-paste images too; they double the cost of a step")
    classification: Classification | None = setting(None, "its loss", otherwise="the gallery run's")
    sampling_rate: float | None = class_sampling()
    optimisation: Optimisation = setting(Optimisation(epochs=32, lr=1.3), "how long and how fast")
    augmentation: Augmentation = setting(Augmentation(), "random changes of the training images")
    execution: Execution = setting(Execution(), "where it runs")
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    @staticmethod
    def defaults_for(told: Mapping[str, Any]) -> dict[str, Preprocessing]:
        """What is done to an image where nothing else is told; see `published_preprocessing`."""
        return published_preprocessing(told)

    def __post_init__(self) -> None:
        check_choices(self)
        if self.method == "finetune" and self.inherit == "none":
            raise ConfigError(
                "method 'finetune' starts from the gallery model's weights, but inherit is 'none'; leave inherit out, "
                "or choose method 'vanilla'"
            )
        check_model(2, self.width, self.stem_stride)
        check_weights(self.arch, self.weights)
        for name in _ABOVE_0:
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range("adaptation_width", self.adaptation_width, 1, 65536)
        check_range("bank", self.bank, 2)
        check_range("aml_margin", self.aml_margin, -1, 1)
        check_range("watch", self.watch, 0, 100_000)
        check_range("held_out", self.held_out or 0, 0)
        check_sampling(self.sampling_rate)
        if self.method != "auto":
            self._check_weights()
        refuse_unused(self)

    def _check_weights(self) -> None:
        weights = self.term_weights
        for name, weight in weights.items():
            check_range("gallery_term" if name == "gallery" else name, weight, 0)
        if not any(weights.values()):
            raise ConfigError("all loss weights are 0; nothing would be learned")

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of each loss term, the method's own where none was set.

        Raises:
            ConfigError: The method is "auto", which has none before `taking` says what it stands for.
        """
        if self.method == "auto":
            raise ConfigError("method is 'auto', which is chosen when the data is there; name a method here")
        preset = WEIGHTS[self.method]
        return {name: preset.get(name, 0.0) if given is None else given for name, given in self.weights_apart().items()}

    def weights_apart(self) -> dict[str, float | None]:
        """Weight of each term that was set apart from the method; None where it was not."""
        return {name: getattr(self, "gallery_term" if name == "gallery" else name) for name in TERMS}

    def taking(self, method: QueryMethod) -> QueryConfig:
        """The same training by another method: what "auto" stands for."""
        return replace(self, method=method)

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
        drawing = ("gallery", "focal", "regression", "alignment", "boundary", "csd", "infonce", "aml")
        return self.method == "auto" or self.method == "finetune" or any(self.term_weights[name] for name in drawing)

    @property
    def centred(self) -> bool:
        """Whether targets are the gallery model's vectors without their mean."""
        return self.method in CENTRED if self.centring is None else self.centring

    @property
    def needs_labels(self) -> bool:
        """Whether a term with a weight looks at labels; aml takes them where there are some, and does without."""
        return self.method == "finetune" or (
            self.method != "auto" and any(self.term_weights[name] for name in OF_LABELS)
        )

    @property
    def needs_bank(self) -> bool:
        """Whether a term with a weight compares with a bank of the gallery model's vectors."""
        return any(self.term_weights[name] for name in OF_BANK)

    @property
    def selecting(self) -> Selection:
        """How images are weighed in the terms that draw them to the old model; "uniform" for every method but dmu."""
        return self.selection or ("entropy" if self.method == "dmu" else "uniform")

    @property
    def unseen_as(self) -> Unseen:
        """What a class is to the gallery model's classifier that it never saw; see `methods.unseen_classes`."""
        return self.unseen or ("refined-prototypes" if self.method == "unibct" else "prototypes")

    @property
    def of_prototypes(self) -> bool:
        """Whether every training class has a row made of the gallery model's vectors, and its classifier no use."""
        return self.unseen_as in ("all-prototypes", "refined-prototypes")
