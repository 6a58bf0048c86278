"""What global_nas.py runs on each dataset, and the rows of one dataset and seed."""

from __future__ import annotations

import base64
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_curve import accuracy_curve
from candidate_step import ROUNDS, timed_steps
from cmp_nas import SEARCH, search_config
from exact_search import machine
from kanji_compatibility import gallery_config
from numpy.typing import NDArray

from compat_sdk.dataset import open_dataset
from compat_sdk.preprocess import Preprocessing
from compat_train.checkpoint import Checkpoint
from compat_train.config import GalleryConfig, Scenario, Source
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import load_training_set
from compat_train.evaluate import Evaluation
from compat_train.loop import DivergedError
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.models.global_space import Bounds, GlobalMember, Layer, random_member
from compat_train.nas.cmp.run import measure, search_tiers
from compat_train.nas.cmp.run import prepare as prepare_cmp
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.evaluate import CandidateTrainer, classified, train_network
from compat_train.nas.global_nas.prepare import prepare
from compat_train.nas.global_nas.ranking import rank
from compat_train.nas.global_nas.result import GlobalResult, TrainedNetwork
from compat_train.nas.global_nas.run import search_network
from compat_train.recipe import read_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
TEST = ("query", "gallery")  # splits of the test images, in the order in which hits are kept
SAMPLE_SEED = 14  # of the members that rankings are compared on
FASHION_ROWS = ("search", "ranking", "ranking-equal", "ranking-curve", "search-static", "whole", "step")
KANJI_ROWS = ("kanji-r3", "cmp", "cmp-equal")

Row = dict[str, Any]


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
    whole: int = 20  # epochs of the found network on all training images
    cmp: Mapping[str, Any] = field(default_factory=dict)  # what differs from cmp_nas.py's search


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
    """All rows of one dataset and seed; they share a folder, so they are computed one after the other."""

    def __init__(self, name: str, seed: int, root: str, runs: Path, known: Mapping[str, Row]) -> None:
        """Trains nothing yet; ``known`` has the rows that are finished, by name."""
        self.seed, self.plan, self.runs, self.root, self.known = seed, PLANS[name], runs, root, known
        self.folder = runs / "global" / f"{name}-{seed}"

    def row(self, name: str) -> Row:
        """One of the plan's rows."""
        compute: dict[str, Callable[[], Row]] = {
            "search": self.search,
            "search-static": self.search_static,
            "ranking": self.ranking,
            "ranking-equal": self.ranking_equal,
            "ranking-curve": self.ranking_curve,
            "whole": self.whole,
            "step": self.step,
            "kanji-r3": self.kanji_r3,
            "cmp": self.cmp,
            "cmp-equal": lambda: self.cmp(self._equal_epochs()),
        }
        return compute[name]()

    def config(self, **change: Any) -> GlobalConfig:
        """The recipe's search with this study's seed."""
        root = self.root if self.plan.rows == KANJI_ROWS else None
        recipe = read_recipe(RECIPES / self.plan.recipe, self.folder, root=root, seed=self.seed)
        assert recipe.global_search is not None  # both recipes have one
        source = replace(recipe.global_search.source, **self.plan.source)
        return replace(recipe.global_search, source=source, **{**self.plan.change, **change})

    def search(self) -> Row:
        """The search with dynamic ranking, and random members."""
        return self._classifiers(self.config(), "search")

    def search_static(self) -> Row:
        """The search with static ranking."""
        return self._classifiers(self.config(ranking="static", random=0), "search-static")

    def _classifiers(self, config: GlobalConfig, name: str) -> Row:
        result = search_network(config, self.folder / name)
        test = test_images(config.source, Checkpoint.load(result.network.run).preprocessing)

        def hits(network: TrainedNetwork) -> Row:
            found = [classified(Checkpoint.load(network.run), *images) for images in test]
            assert float(found[0].mean()) == network.score, "the hits are not those of the search's result"
            return {"test": packed(np.concatenate(found))}

        return found_row(result, hits) | {"queries": len(test[0][1]), "test_images": sum(len(s[1]) for s in test)}

    def whole(self) -> Row:
        """The network of ``search`` trained on every training image of the dataset."""
        config = self.config()
        network = search_network(config, self.folder / "search").network
        source = replace(config.source, scenario=Scenario())
        data = load_training_set(source, Checkpoint.load(network.run).preprocessing, cache=self.folder / "whole-pixels")
        config = replace(config, source=source)
        checkpoint = train_network(config, network.arch, self.plan.whole, self.folder / "whole", data)
        test = test_images(source, checkpoint.preprocessing)
        return {
            **{name: getattr(network, name) for name in ("arch", "parameters", "mmacs")},
            "images": len(data.labels),
            "epochs": self.plan.whole,
            "queries": len(test[0][1]),
            "test_images": sum(len(labels) for _, labels in test),
            "hits": {"test": packed(np.concatenate([classified(checkpoint, *images) for images in test]))},
        }

    def ranking(self, static: int | None = None) -> Row:
        """Random members trained three times, and how the short trainings rank them."""
        config, plan = self.config(), self.plan
        prepared = prepare(config, self.folder / "ranking")
        members = self._members(plan.members)
        trainer = CandidateTrainer(config, prepared.images, self.folder / "ranking" / "candidates")

        def score(member: GlobalMember, epochs: int) -> float:
            try:
                return trainer(member, epochs)
            except DivergedError:  # as in a search
                return 0.0

        static = plan.static if static is None else static
        return rank(members, score, dim=prepared.dim, static=static, step=plan.step, full=plan.full).to_json()

    def ranking_equal(self) -> Row:
        """The same where static ranking has the epochs that dynamic ranking has, rounded up."""
        return self.ranking(math.ceil(self.plan.step * (self.plan.members + 1) / 2))

    def ranking_curve(self) -> Row:
        """As in the paper: static and dynamic accuracies are those of the full training's epochs."""
        config, count = self.config(), self.plan.curve
        folder = self.folder / "ranking-curve"
        prepared = prepare(config, folder)
        members = self._members(count)
        curves = {
            member.name: accuracy_curve(config, member, count, folder / str(number), prepared.images)
            for number, member in enumerate(members)
        }
        found = rank(
            members,
            lambda member, epochs: curves[member.name][epochs - 1],
            dim=prepared.dim,
            static=1,
            step=1,
            full=count,
        )
        return found.to_json() | {"curves": curves}

    def _members(self, count: int) -> list[GlobalMember]:
        """Random members of the space; fewer of them are the first of more."""
        bounds, generator = self.config().bounds, np.random.default_rng((self.seed, SAMPLE_SEED))
        return [random_member(bounds, generator) for _ in range(count)]

    def kanji_r3(self) -> Row:
        """The search for a query network, and random members within the limit."""
        gallery = self._gallery()
        config = self.config(gallery=str(gallery))
        result = search_network(config, self.folder / "r3")

        def hits(network: TrainedNetwork) -> Row:
            assert network.evaluation is not None  # r3 evaluates
            return both_sides(network.evaluation)

        evaluation = result.network.evaluation
        assert evaluation is not None
        return found_row(result, hits) | {"queries": evaluation.queries, "limit": config.mmacs}

    def cmp(self, epochs: int | None = None) -> Row:
        """CMP-NAS for the same limit: CPU seconds of supernet and search, and its best network trained alike.

        Reading and embedding images is left out of the seconds, as it is of those of the global search.

        Args:
            epochs: Of the supernet, and train random members too; None: those of cmp_nas.py, and no random ones.
        """
        search = self.config(gallery=str(self._gallery()))
        assert search.mmacs is not None  # the recipe has a limit
        config = replace(
            search_config(self.root, self.runs, self.seed),
            source=search.source,
            mmacs=(search.mmacs,),
            retrain=search.optimisation.of(search.final_epochs),
            **self.plan.cmp,
        )
        if epochs is not None:
            supernet = config.supernet
            config = replace(
                config, supernet=replace(supernet, optimisation=replace(supernet.optimisation, epochs=epochs))
            )
        folder = self.folder / ("cmp" if epochs is None else "cmp-equal")
        if folder.is_dir():  # of a measurement that was cut off
            shutil.rmtree(folder)
        prepared = prepare_cmp(config, folder)
        start = time.process_time()
        weights = train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")
        trained = time.process_time()
        ranked = search_tiers(config, prepared, weights, folder)[search.mmacs]
        searched = time.process_time()
        members = [ranked[0].member]
        if epochs is not None:
            sampler, generator = MemberSampler(prepared.costs), np.random.default_rng((self.seed, SAMPLE_SEED))
            members += [sampler.draw(generator, 0.0, search.mmacs) for _ in range(search.random)]
        runs = [folder / "networks" / str(number) for number, _ in enumerate(members)]
        for member, run in zip(members, runs, strict=True):
            train_query(config.training(member.name), run, data=prepared.data)
        measured = measure(config, prepared, [(run, None, None, None) for run in runs]).networks
        kept = [
            {"arch": found.arch, "mmacs": prepared.costs.mmacs(member), "hits": both_sides(found.evaluation)}
            for member, found in zip(members, measured, strict=True)
        ]
        return {
            "limit": search.mmacs,
            "supernet_epochs": config.supernet.optimisation.epochs,
            "supernet_cpu_seconds": trained - start,
            "search_cpu_seconds": searched - trained,
            "candidates": len(ranked),
            "queries": measured[0].evaluation.queries,
            "network": kept[0] | {"reward": ranked[0].reward},
            "random": kept[1:],
        }

    def _equal_epochs(self) -> int:
        """Epochs of CMP-NAS's supernet with which its search costs as much as the global one of this seed."""
        if missing := [name for name in ("kanji-r3", "cmp") if name not in self.known]:
            raise SystemExit(f"cmp-equal of seed {self.seed} needs the rows {', '.join(missing)} first")
        of_global, of_cmp = self.known["kanji-r3"], self.known["cmp"]
        an_epoch = of_cmp["supernet_cpu_seconds"] / of_cmp["supernet_epochs"]
        return max(1, round((of_global["search_cpu_seconds"] - of_cmp["search_cpu_seconds"]) / an_epoch))

    def _gallery(self) -> Path:
        run = self.runs / "kanji" / f"gallery-{self.seed}"
        train_gallery(gallery_config(self.root, self.seed), run)
        return run

    def step(self) -> Row:
        """CPU seconds of a step of the middle member of the bounds, and of the same with plain convolutions."""
        config = self.config()
        bounds = config.bounds
        middle = bounds.member(bounds.depths[len(bounds.depths) // 2], bounds.widths[len(bounds.widths) // 2])
        members = {"separable": middle, "conv": replace(middle, layers=(Layer("conv"),) * middle.depth)}
        prepared = prepare(config, self.folder / "step")
        found: Row = {"machine": machine(), "threads": 1, "rounds": ROUNDS}
        for name, member in members.items():
            training = config.training(member.name, 1)
            assert isinstance(training, GalleryConfig)  # accuracy trains networks by themselves
            found[name] = timed_steps(training, member, prepared.images.data)
        return found


def test_images(source: Source, preprocessing: Preprocessing) -> list[tuple[NDArray[np.uint8], tuple[str, ...]]]:
    """Pixels and labels of both splits of the test images."""
    dataset = open_dataset(source.data)
    return [(decode_split(split, preprocessing).images, split.labels) for split in map(dataset.splits.get, TEST)]


def found_row(result: GlobalResult, hits: Callable[[TrainedNetwork], Row]) -> Row:
    """What is kept of a search: its figures, and of each network its cost and its hits."""

    def kept(network: TrainedNetwork) -> Row:
        figures = {name: getattr(network, name) for name in ("arch", "score", "parameters", "mmacs")}
        return figures | {"hits": hits(network)}

    figures = {name: value for name, value in result.to_json().items() if name not in ("network", "random")}
    return figures | {"network": kept(result.network), "random": [kept(network) for network in result.random]}


def both_sides(evaluation: Evaluation) -> Row:
    """Hits of a query network's queries among its own embeddings and among the gallery model's."""
    pairs = {"own": "query_query", "across": "query_gallery"}
    return {side: packed(evaluation.per_query[pair].hits(1) > 0) for side, pair in pairs.items()}


def packed(hits: NDArray[np.bool_]) -> str:
    """Hits as base64 bits."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()
