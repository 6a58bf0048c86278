"""What a CMP-NAS run is told."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from compat_sdk.errors import ConfigError
from compat_train.config.training import (
    Augmentation,
    Classification,
    Execution,
    Optimisation,
    QueryConfig,
    QueryMethod,
    Source,
    check_choice,
    check_range,
)
from compat_train.models.search_space import SearchSpace, space_named

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
"""Static query networks of seed 000, table 5."""


@dataclass(frozen=True, kw_only=True)
class SupernetConfig:
    """Training of the shared weights."""

    optimisation: Optimisation = field(default_factory=lambda: Optimisation(epochs=32, lr=1.3))
    method: QueryMethod | None = None  # None: the method of the run; vanilla gives the baseline NAS of Fig. 6
    bins: int = 6  # equal ranges of MMACs, one of which each step draws from; 0: uniform over all members
    operation_warmup: float = 0.1  # share of the steps that train the first operation alone, which starts the others
    channel_warmup: float = 0.25  # share of the steps in which the channel scales open, from the largest down

    def __post_init__(self) -> None:
        if self.method is not None:
            check_choice("supernet.method", self.method, typing.get_args(QueryMethod))
        check_range("supernet.bins", self.bins, 0, 1000)
        check_range("supernet.operation_warmup", self.operation_warmup, 0, 1)
        check_range("supernet.channel_warmup", self.channel_warmup, self.operation_warmup, 1)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Evolution as SPOS has it, or random search with as many evaluations."""

    strategy: Literal["evolution", "random"] = "evolution"
    population: int = 50  # members per round
    parents: int = 10  # best members so far, which have children
    crossovers: int = 25  # children of two parents per round
    mutations: int = 25  # children of one parent per round
    mutation: float = 0.1  # probability that a gene (an operation or a scale of a block) is drawn anew
    rounds: int = 20  # populations evaluated
    tries: int = 10  # attempts per wanted child before random members fill its place
    seed: int = 0  # source of all randomness

    def __post_init__(self) -> None:
        check_choice("search.strategy", self.strategy, ("evolution", "random"))
        check_range("search.population", self.population, 1)
        check_range("search.parents", self.parents, 1, self.population)
        check_range("search.crossovers", self.crossovers, 0)
        check_range("search.mutations", self.mutations, 0)
        check_range("search.mutation", self.mutation, 0, 1)
        check_range("search.rounds", self.rounds, 1)
        check_range("search.tries", self.tries, 1)
        check_range("search.seed", self.seed, 0)
        if self.crossovers + self.mutations > self.population:
            raise ConfigError(
                f"search.crossovers {self.crossovers} and search.mutations {self.mutations} are more than the "
                f"population of {self.population}; lower them or enlarge it"
            )


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What a candidate is judged on."""

    queries: int = 2000  # at most this many validation queries; 0: all
    gallery: int = 4000  # at most this many validation gallery images; 0: all
    rank: int = 1  # accuracy is that a positive is among this many best
    calibration: int = 4096  # training images that a candidate's batch norms are recalibrated on
    batch: int = 128  # images per forward pass, and per recalibration step

    def __post_init__(self) -> None:
        check_range("validation.queries", self.queries, 0)
        check_range("validation.gallery", self.gallery, 0)
        check_range("validation.rank", self.rank, 1)
        check_range("validation.batch", self.batch, 2)
        check_range("validation.calibration", self.calibration, self.batch)


@dataclass(frozen=True, kw_only=True)
class CmpConfig:
    """CMP-NAS: seed 000, section 3.2.2 and 4.2."""

    source: Source
    gallery: str  # RUN folder of the gallery model
    mmacs: tuple[float, ...]  # budgets of the tiers, millions of multiply-accumulates
    reward: Reward = "r3"  # Table 1: r1 = M(q,q), r2 = M(q,g), r3 = their product
    space: str = "shuffle"  # shuffle or ane, with settings such as shuffle,last=512
    stem_stride: int = 1  # stride of the first convolution
    method: QueryMethod = "bct"  # how found and static networks are trained
    regression: float | None = None  # weight of the regression term, where it is not the method's own
    mixed: bool = False  # regress on cut-and-paste images too
    classification: Classification | None = None  # None: the gallery run's
    supernet: SupernetConfig = SupernetConfig()
    search: SearchConfig = SearchConfig()
    validation: ValidationConfig = ValidationConfig()
    retrain: Optimisation = field(default_factory=lambda: Optimisation(epochs=32, lr=1.3))
    keep: int = 5  # best members of each tier that are retrained
    static: tuple[str, ...] = TABLE_5  # networks trained beside them, for comparison
    static_width: float = 1.0  # factor on the static networks' channel counts
    static_lr: Mapping[str, float] = field(default_factory=dict)  # static networks whose rate is not retrain.lr
    augmentation: Augmentation = field(default_factory=Augmentation)
    execution: Execution = field(default_factory=Execution)
    workers: int = 0  # processes that evaluate candidates, one thread each; 0: this process
    license: str = "unspecified"  # licence of the trained weights

    def __post_init__(self) -> None:
        check_choice("reward", self.reward, typing.get_args(Reward))
        check_range("keep", self.keep, 1)
        check_range("workers", self.workers, 0)
        if not self.mmacs:
            raise ConfigError("mmacs is empty; expected at least one budget in millions, such as 100")
        if len(set(self.mmacs)) != len(self.mmacs):
            raise ConfigError(f"mmacs names a budget twice: {', '.join(f'{budget:g}' for budget in self.mmacs)}")
        for budget in self.mmacs:
            check_range("mmacs", budget, 0, open_low=True)
        check_range("static_width", self.static_width, 0, open_low=True)
        if unknown := sorted(set(self.static_lr) - set(self.static)):
            raise ConfigError(f"static_lr names {', '.join(unknown)}, which is not among the static networks")
        for arch, rate in self.static_lr.items():
            check_range(f"static_lr.{arch}", rate, 0, open_low=True)
        _ = self.search_space, self.training("shufflenet_v2")  # both refuse what cannot work

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
