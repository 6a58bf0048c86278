"""What a global search is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.checks import check_choices, check_metric, check_range
from compat_train.config.fields import about, setting
from compat_train.config.gallery import GalleryConfig
from compat_train.config.method_terms import AnyMethod, method_weights
from compat_train.config.parts import Augmentation, Classification, Execution, Source
from compat_train.config.query import QueryConfig
from compat_train.models.global_space import Bounds
from compat_train.nas.global_nas.schedule import Schedule

if TYPE_CHECKING:
    from compat_sdk.metrics import Metric

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

SOFTMAX = Classification(loss="norm-softmax", margin=0.0, scale=16.0)
"""Loss of networks that have no gallery model: the softmax that an embedding can be compared by, see `GlobalConfig`."""

CUTOUT = Augmentation(cutout=0.5)
"""Section 4.1's augmentation: 16 of CIFAR's 32 pixels."""

_OF_MICRO = ("micro_epochs", "operations", "final_width")  # settings of the micro search
_HELD_OUT = 0.1
_DIM = 128
_INPUT = Preprocessing(size=32)  # CIFAR's side
_GALLERYS = "the gallery run's"


def _alone(value: Any) -> dict[Objective, Any]:
    """What stands for a setting by objective: ``value``, and for r3 what the gallery run has."""
    return {"accuracy": value, "retrieval": value, "r3": _GALLERYS}


@dataclass(frozen=True, kw_only=True)
class GlobalConfig:
    """Efficient Global NAS, https://arxiv.org/abs/2502.03553, sections 3.2, 3.3 and 4.1, with two objectives beyond it.

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

    source: Source = field(metadata=about("the images it learns from"))
    objective: Objective = setting(
        "accuracy", "what is maximised; accuracy: of classification, retrieval: M(q,q), r3: M(q,q) * M(q,g)"
    )
    metric: str = setting("top-1", "accuracy of retrieval and r3: top-K, map, map@K or tpir@fpir=RATE", added=True)
    gallery: str | None = setting(None, "RUN folder of the gallery model, for r3")
    mmacs: float | None = setting(
        None, "most multiply-accumulates of any network, in millions", unit="MMACs", otherwise="no limit"
    )
    milliseconds: float | None = setting(
        None,
        "most milliseconds of any network, by a table of a device's blocks",
        unit="ms",
        otherwise="no limit",
        added=True,
    )
    table: str | None = setting(
        None, "file of a device's blocks, which `profile --blocks --save` writes; for milliseconds", added=True
    )
    bounds: Bounds = setting(TINY, "depths and widths of the macro search; the micro search may go below min_width")
    dim: int | None = setting(None, "embedding dimension", unit="numbers", otherwise=_alone(_DIM))
    preprocessing: Preprocessing | None = setting(None, "what is done to an image first", otherwise=_alone(_INPUT))
    stem_stride: int = setting(1, "stride of the first convolution", unit="pixels")
    macro_epochs: int = setting(10, "epochs of the first network of the macro search, its E_min", unit="epochs")
    micro_epochs: int = setting(2, "epochs of every network of the micro search, its E_min", unit="epochs")
    micro: bool = setting(True, "search operations and kernels too; on faces the paper searches depth and width only")
    operations: bool = setting(
        True, "the micro search tries the other operation for each layer; false is the paper's ablation", added=True
    )
    gain: float = setting(
        0.10, "percentage points by which a deeper network must be better to be adopted", unit="percentage points"
    )
    drop: float = setting(
        0.05, "percentage points by which a deeper network may be worse without a strike", unit="percentage points"
    )
    strikes: int = setting(3, "strikes that end the depth search, and the width search", unit="strikes")
    strikes_reset: bool = setting(
        True, "an adopted network clears the strikes, as in the authors' code; otherwise they add up"
    )
    ranking: Ranking = setting(
        "dynamic", "how epochs follow from size; static: macro_epochs for every network of the macro search"
    )
    final_width: Literal["macro", "micro"] = setting("macro", "which search's width the found network has")
    final_epochs: int = setting(
        600, "epochs of the found network and of the random ones, on all training images", unit="epochs"
    )
    random: int = setting(
        0, "random members that are trained as the found network is, for Relative Improvement", unit="members"
    )
    held_out: float | None = setting(
        None,
        "share of each class's training images that judge, where no val/ does",
        unit="fraction",
        otherwise=_HELD_OUT,
    )
    method: AnyMethod | None = setting(
        None, "how networks are trained for r3; auto: by what labels and gallery model allow", otherwise="bct"
    )
    regression: float | None = setting(
        None, "weight of the regression term, for r3", otherwise=method_weights("regression")
    )
    mixed: bool = setting(False, "regress on cut-and-paste images too, for r3")
    classification: Classification | None = setting(None, "the loss of every network", otherwise=_alone(SOFTMAX))
    optimisation: Schedule = setting(Schedule(), "how fast every network is trained")
    augmentation: Augmentation = setting(CUTOUT, "random changes of the training images")
    execution: Execution = setting(Execution(), "where it runs")
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    def __post_init__(self) -> None:
        check_choices(self)
        self.augmentation.refuse_canvas("a search")
        if self.source.streamed:
            raise ConfigError(
                "streamed is on, and a global search trains many networks on the same pictures, which are decoded "
                "once; leave it out",
                setting="source.streamed",
            )
        check_range("macro_epochs", self.macro_epochs, 1)
        check_range("micro_epochs", self.micro_epochs, 1)
        check_range("final_epochs", self.final_epochs, 1)
        check_range("gain", self.gain, 0, 100)
        check_range("drop", self.drop, 0, 100)
        check_range("strikes", self.strikes, 1)
        check_range("random", self.random, 0)
        for name, limit in (("mmacs", self.mmacs), ("milliseconds", self.milliseconds)):
            if limit is not None:
                check_range(name, limit, 0, open_low=True)
        if (self.milliseconds is None) != (self.table is None):
            raise ConfigError(
                "milliseconds need the table of a device's blocks; make one with `compat-sdk profile FOLDER --blocks "
                "--save FILE`"
                if self.table is None
                else "table says what blocks take in milliseconds, and there is no limit of these; leave it out",
                setting="table",
            )
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
    def defaults_for(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the tables that are None by default lie over; for r3 the gallery run decides on the loss.

        Another loss than the softmax has its own margin and scale.
        """
        found: dict[str, Any] = {}
        if isinstance(loss := values.get("classification"), Mapping) and values.get("objective") != "r3":
            softmax = loss.get("loss", SOFTMAX.loss) == SOFTMAX.loss
            found["classification"] = SOFTMAX if softmax else Classification()
        if values.get("preprocessing") is not None:
            found["preprocessing"] = _INPUT
        return found

    def refuse_ignored(self, told: Mapping[str, Any]) -> None:
        """Refuses, with a ConfigError, settings of the micro search where there is none."""
        if not self.micro and (named := [name for name in _OF_MICRO if name in told]):
            raise ConfigError(
                f"micro is false, which leaves nothing for {' and '.join(named)} to say; leave that out",
                setting="micro",
            )

    @property
    def accuracy(self) -> Metric:
        """The accuracy of a search for retrieval, that judges candidates and that networks are reported by."""
        return check_metric("metric", self.metric)

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
            dim=_DIM if self.dim is None else self.dim,
            stem_stride=self.stem_stride,
            preprocessing=self.preprocessing or _INPUT,
            classification=self.classification or SOFTMAX,
            optimisation=self.optimisation.of(epochs),
            augmentation=self.augmentation,
            execution=self.execution,
            license=self.license,
        )

    def _check_objective(self) -> None:
        """Refuses settings that the objective would ignore, and r3 without what it is measured against."""
        if self.metric != "top-1" and check_metric("metric", self.metric) and self.objective == "accuracy":
            raise ConfigError(
                f"metric is {self.metric}, but objective 'accuracy' is the accuracy of classification; leave it out, "
                f"or choose objective 'retrieval'",
                setting="metric",
            )
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
