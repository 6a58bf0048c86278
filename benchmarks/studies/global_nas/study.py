"""What is run on each dataset, and what both objectives share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from benchmarks.studies.cmp_nas.search import SEARCH
from compat_train.config.scenario import Scenario
from compat_train.models.global_space import Bounds
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.result import GlobalResult, TrainedNetwork
from compat_train.recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
SAMPLE_SEED = 14  # of random members that no search draws
FASHION_ROWS = (
    "search",
    "random",
    "random-equal",
    "longer",
    "ranking",
    "ranking-curve",
    "search-static",
    "whole",
    "step",
)
KANJI_ROWS = ("kanji-r3", "cmp", "cmp-equal")


@dataclass(frozen=True)
class Plan:
    """What is run on one dataset."""

    recipe: str
    rows: tuple[str, ...]
    change: Mapping[str, Any] = field(default_factory=dict)  # what differs from the recipe's search
    source: Mapping[str, Any] = field(default_factory=dict)  # what differs from its data
    members: int = 12  # random members that rankings are compared on
    static: int = 1  # epochs of each for static ranking
    step: int = 1  # epochs by which each is trained longer than the next smaller one
    full: int = 15  # epochs of the full training
    curve: int = 20  # random members, and epochs of each, whose accuracies are read off one training
    few: int = 3  # random members of the found network's size, and of those that are trained for longer
    longer: int = 60  # epochs of that
    whole: int = 20  # epochs of the found network on all training images
    cmp: Mapping[str, Any] = field(default_factory=dict)  # what differs from the search of CMP-NAS's study


SHORT = {"macro_epochs": 1, "final_epochs": 2, "random": 2}
PLANS = {
    "fashion-mnist": Plan("global_fashion_laptop.toml", FASHION_ROWS),
    "kanji": Plan("global_kanji.toml", KANJI_ROWS),
    # Two plans whose figures say nothing, to try the script.
    "sample": Plan(
        "global_fashion_laptop.toml",
        FASHION_ROWS,
        SHORT | {"bounds": Bounds(min_depth=3, max_depth=4, min_width=2, max_width=6), "dim": 8},
        {"data": "sample", "scenario": Scenario(fraction=0.1)},
        members=4,
        full=4,
        curve=3,
        few=2,
        longer=3,
        whole=2,
    ),
    "kanji-sample": Plan(
        "global_kanji.toml",
        KANJI_ROWS,
        SHORT | {"bounds": Bounds(min_depth=3, max_depth=3, min_width=2, max_width=3), "micro": False, "random": 1},
        {"scenario": Scenario(fraction=0.01)},
        cmp={"search": replace(SEARCH, population=4, parents=2, crossovers=1, mutations=1, rounds=2)},
    ),
}


class Study:
    """Rows of one dataset and seed; they share a folder, so they are computed one after the other."""

    def __init__(self, name: str, seed: int, root: str, runs: Path, known: Mapping[str, Row]) -> None:
        """Trains nothing yet; ``known`` has the rows that are finished, by name."""
        self.seed, self.plan, self.runs, self.root, self.known = seed, PLANS[name], runs, root, known
        self.folder = runs / "global" / f"{name}-{seed}"

    def config(self, **change: Any) -> GlobalConfig:
        """The recipe's search with this study's seed."""
        root = self.root if self.plan.rows == KANJI_ROWS else None
        recipe = read_recipe(RECIPES / self.plan.recipe, self.folder, root=root, seed=self.seed)
        assert recipe.global_search is not None  # both recipes have one
        source = replace(recipe.global_search.source, **self.plan.source)
        return replace(recipe.global_search, source=source, **{**self.plan.change, **change})

    def needed(self, *names: str) -> list[Row]:
        """Finished rows that another one rests on."""
        if missing := [name for name in names if name not in self.known]:
            raise SystemExit(f"seed {self.seed} needs the rows {', '.join(missing)} first")
        return [self.known[name] for name in names]


def found_row(result: GlobalResult, hits: Callable[[TrainedNetwork], Row]) -> Row:
    """What is kept of a search: its figures, and of each network its cost and its hits."""

    def kept(network: TrainedNetwork) -> Row:
        figures = {name: getattr(network, name) for name in ("arch", "score", "parameters", "mmacs")}
        return figures | {"hits": hits(network)}

    figures = {name: value for name, value in result.to_json().items() if name not in ("network", "random")}
    return figures | {"network": kept(result.network), "random": [kept(network) for network in result.random]}
