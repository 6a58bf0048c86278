"""What a CMP-NAS run is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value
from compat_train.config.checks import check_choices, check_metric, check_range
from compat_train.config.fields import about, setting
from compat_train.config.method_terms import AnyMethod, QueryMethod, method_weights
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.models.search_space import SearchSpace, space_named

if TYPE_CHECKING:
    from compat_sdk.metrics import Metric

Reward = Literal["r1", "r2", "r3"]

TABLE_5 = (
    "mobilenet_v1",
    "mobilenet_v1_0.5",
    "mobilenet_v2",
    "mobilenet_v2_0.5",
    "mobilenet_v3",
    "proxyless_mobile",
    "shufflenet_v1",
    "shufflenet_v2",
)
"""Static query networks of CMP-NAS, table 5."""


_TRAINING = Optimisation(epochs=32, lr=1.3)  # of query models, section 4.2; the supernet's is not given there


@dataclass(frozen=True, kw_only=True)
class SupernetConfig:
    """Training of the shared weights."""

    optimisation: Optimisation = setting(_TRAINING, "how long and how fast")
    method: QueryMethod | None = setting(
        None, "another method for the supernet; vanilla gives the baseline NAS of Fig. 6", otherwise="the run's"
    )
    bins: int = setting(6, "equal ranges of MMACs, one of which each step draws from; 0: uniform over all members")
    operation_warmup: float = setting(
        0.1, "share of the steps that train the first operation alone, which starts the others", unit="fraction"
    )
    channel_warmup: float = setting(
        0.25, "share of the steps in which the channel scales open, from the largest down", unit="fraction"
    )

    def __post_init__(self) -> None:
        check_choices(self)
        check_range("bins", self.bins, 0, 1000)
        check_range("operation_warmup", self.operation_warmup, 0, 1)
        check_range("channel_warmup", self.channel_warmup, self.operation_warmup, 1)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Evolution as SPOS has it, or random search with as many evaluations."""

    strategy: Literal["evolution", "random"] = setting("evolution", "how members are proposed")
    population: int = setting(50, "members per round", unit="members")
    parents: int = setting(10, "best members so far, which have children", unit="members")
    crossovers: int = setting(25, "children of two parents per round", unit="members")
    mutations: int = setting(25, "children of one parent per round", unit="members")
    mutation: float = setting(
        0.1, "probability that a gene (an operation or a scale of a block) is drawn anew", unit="fraction"
    )
    rounds: int = setting(20, "populations evaluated", unit="rounds")
    tries: int = setting(10, "attempts per wanted child before random members fill its place", unit="tries")
    seed: int = setting(0, "source of all randomness of the search")

    def __post_init__(self) -> None:
        check_choices(self)
        check_range("population", self.population, 1)
        check_range("parents", self.parents, 1, self.population)
        check_range("crossovers", self.crossovers, 0)
        check_range("mutations", self.mutations, 0)
        check_range("mutation", self.mutation, 0, 1)
        check_range("rounds", self.rounds, 1)
        check_range("tries", self.tries, 1)
        check_range("seed", self.seed, 0)
        if self.crossovers + self.mutations > self.population:
            raise ConfigError(
                f"crossovers {self.crossovers} and mutations {self.mutations} are more than the population of "
                f"{self.population}; lower them or enlarge it"
            )


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What a candidate is judged on."""

    queries: int = setting(2000, "at most so many validation queries; 0: all", unit="images")
    gallery: int = setting(4000, "at most so many validation gallery images; 0: all", unit="images")
    rank: int = setting(1, "accuracy is that a positive is among so many best", unit="places")
    metric: str | None = setting(
        None, "accuracy: top-K, map, map@K or tpir@fpir=RATE", otherwise="top-RANK", added=True
    )
    calibration: int = setting(
        4096, "training images that a candidate's batch norms are recalibrated on", unit="images"
    )
    batch: int = setting(128, "images per forward pass, and per recalibration step", unit="images")

    def __post_init__(self) -> None:
        check_range("queries", self.queries, 0)
        check_range("gallery", self.gallery, 0)
        check_range("rank", self.rank, 1)
        if self.metric is not None and self.rank != 1:
            raise ConfigError(
                f"rank is {self.rank} and metric is {shown_value(self.metric)}; set one of them", setting="metric"
            )
        if self.metric is not None:
            _ = self.accuracy
        check_range("batch", self.batch, 2)
        check_range("calibration", self.calibration, self.batch)

    @property
    def accuracy(self) -> Metric:
        """The accuracy that judges candidates, and that the networks found are reported by.

        Raises:
            ConfigError: There is no metric of that name.
        """
        return check_metric("metric", f"top-{self.rank}" if self.metric is None else self.metric)


@dataclass(frozen=True, kw_only=True)
class CmpConfig:
    """CMP-NAS, https://arxiv.org/abs/2105.06047, sections 3.2.2 and 4.2."""

    source: Source = field(metadata=about("the images it learns from"))
    gallery: str = field(metadata=about("RUN folder of the gallery model"))
    mmacs: tuple[float, ...] = setting(
        (), "budget of each tier, multiply-accumulates in millions; or give milliseconds", unit="MMACs"
    )
    milliseconds: tuple[float, ...] = setting(
        (), "budget of each tier by a table of a device's blocks; or give mmacs", unit="ms", added=True
    )
    table: str | None = setting(
        None, "file of a device's blocks, which `profile --blocks --save` writes; for milliseconds", added=True
    )
    reward: Reward = setting("r3", "what is maximised: r1 = M(q,q), r2 = M(q,g), r3 = their product")
    space: str = setting("shuffle", "search space: shuffle or ane, with settings such as shuffle,last=512,stem=8")
    stem_stride: int = setting(1, "stride of the first convolution", unit="pixels")
    method: AnyMethod = setting(
        "bct", "how found and static networks are trained; auto: by what labels and gallery model allow"
    )
    regression: float | None = setting(None, "weight of the regression term", otherwise=method_weights("regression"))
    mixed: bool = setting(False, "regress on cut-and-paste images too")
    classification: Classification | None = setting(None, "the loss of every network", otherwise="the gallery run's")
    supernet: SupernetConfig = setting(SupernetConfig(), "training of the shared weights")
    search: SearchConfig = setting(SearchConfig(), "how members are found")
    validation: ValidationConfig = setting(ValidationConfig(), "what a candidate is judged on")
    retrain: Optimisation = setting(_TRAINING, "how long and how fast found and static networks are trained")
    keep: int = setting(5, "best members of each tier that are retrained", unit="members")
    static: tuple[str, ...] = setting(TABLE_5, "networks trained beside them, for comparison")
    static_width: float = setting(1.0, "factor on the static networks' channel counts")
    static_lr: Mapping[str, float] = field(
        default_factory=dict, metadata=about("static networks whose rate is not retrain.lr, by name")
    )
    augmentation: Augmentation = setting(Augmentation(), "random changes of the training images")
    execution: Execution = setting(Execution(), "where it runs")
    workers: int = setting(
        0,
        "processes that evaluate candidates, one thread each, over all GPUs there are; 0: this process",
        unit="processes",
    )
    license: str = setting("unspecified", "licence of the trained weights, for the bundle")

    def __post_init__(self) -> None:
        check_choices(self)
        self.augmentation.refuse_canvas("a search")
        check_range("keep", self.keep, 1)
        check_range("workers", self.workers, 0)
        self._check_budgets()
        check_range("static_width", self.static_width, 0, open_low=True)
        if unknown := sorted(set(self.static_lr) - set(self.static)):
            raise ConfigError(
                f"static_lr names {', '.join(unknown)}, which is not among the static networks", setting="static_lr"
            )
        for arch, rate in self.static_lr.items():
            check_range(f"static_lr.{arch}", rate, 0, open_low=True)
        _ = self.search_space, self.training("shufflenet_v2")  # both refuse what cannot work

    def _check_budgets(self) -> None:
        """Refuses no budget, budgets of both kinds, one that stands twice, and milliseconds without their table."""
        if bool(self.mmacs) == bool(self.milliseconds):
            found = "both mmacs and milliseconds are given" if self.mmacs else "mmacs is empty"
            raise ConfigError(
                f"{found}; expected at least one budget of one kind, such as mmacs 100, or milliseconds 2 with the "
                f"table of a device",
                setting="mmacs",
            )
        if bool(self.milliseconds) != (self.table is not None):
            raise ConfigError(
                "milliseconds need the table of a device's blocks; make one with `compat-sdk profile FOLDER --blocks "
                "--save FILE`"
                if self.milliseconds
                else "table says what blocks take in milliseconds, and the budget is in mmacs; leave one out",
                setting="table",
            )
        name = "milliseconds" if self.milliseconds else "mmacs"
        if len(set(self.budgets)) != len(self.budgets):
            raise ConfigError(
                f"{name} names a budget twice: {', '.join(f'{budget:g}' for budget in self.budgets)}", setting=name
            )
        for budget in self.budgets:
            check_range(name, budget, 0, open_low=True)

    @property
    def budgets(self) -> tuple[float, ...]:
        """Budget of each tier, in MMACs or in milliseconds."""
        return self.milliseconds or self.mmacs

    @property
    def unit(self) -> Literal["", "ms"]:
        """What stands behind a budget where it needs a unit: nothing for MMACs."""
        return "ms" if self.milliseconds else ""

    @property
    def search_space(self) -> SearchSpace:
        """The search space that ``space`` names."""
        return space_named(self.space)

    def training(self, arch: str, *, width: float = 1.0, method: QueryMethod | None = None) -> QueryConfig:
        """How a network of this run is trained from scratch against the gallery model.

        Args:
            arch: Architecture name.
            width: Factor on its channel counts.
            method: Another method than the run's.
        """
        other = method is not None and method != self.method
        return QueryConfig(
            source=self.source,
            gallery=self.gallery,
            method=method or self.method,
            arch=arch,
            width=width,
            stem_stride=self.stem_stride,
            regression=None if other else self.regression,
            mixed=self.mixed and not other,
            adaptation=0.0 if (method or self.method) == "dmu" else None,  # a query model upgrades no gallery
            classification=self.classification,
            optimisation=replace(self.retrain, lr=self.static_lr.get(arch, self.retrain.lr)),
            augmentation=self.augmentation,
            execution=self.execution,
            license=self.license,
        )
