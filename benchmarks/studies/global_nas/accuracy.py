"""Rows that are about classification: the search, random members, rankings and a candidate's step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.pages import packed
from benchmarks.rows import Row
from benchmarks.studies.global_nas.accuracy_curve import accuracy_curve
from benchmarks.studies.global_nas.candidate_step import ROUNDS, timed_steps
from benchmarks.studies.global_nas.study import SAMPLE_SEED, Study, found_row
from compat_sdk.datasets import open_dataset
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Source
from compat_train.config.scenario import Scenario
from compat_train.data.pixels import decode_split
from compat_train.models.global_cost import parameters
from compat_train.models.global_names import global_named
from compat_train.models.global_space import GlobalMember, Layer, random_member
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.evaluate import CandidateTrainer, classified, train_network
from compat_train.nas.global_nas.prepare import Prepared, prepare
from compat_train.nas.global_nas.ranking import rank
from compat_train.nas.global_nas.result import TrainedNetwork
from compat_train.nas.global_nas.run import search_network
from compat_train.readings import DivergedError
from compat_train.runs.checkpoint import Checkpoint

TEST = ("query", "gallery")  # splits of the test images, in the order in which hits are kept
SIMILAR = 0.1  # random members of equal size have a network's parameters within this share of them

Images = tuple[NDArray[np.uint8], tuple[str, ...]]


class AccuracyStudy(Study):
    """Classification accuracy as the objective, as in the paper."""

    def row(self, name: str) -> Row:
        """One of the plan's rows."""
        compute: dict[str, Callable[[], Row]] = {
            "search": self.search,
            "random": self.random,
            "search-static": self.search_static,
            "random-equal": self.random_equal,
            "longer": self.longer,
            "ranking": self.ranking,
            "ranking-curve": self.ranking_curve,
            "whole": self.whole,
            "step": self.step,
        }
        return compute[name]()

    def search(self) -> Row:
        """The search with dynamic ranking; its random members are the row ``random``."""
        return self._searched(self.config(random=0), "search")

    def search_static(self) -> Row:
        """The search with static ranking; its macro networks have the epochs of those of ``search`` in the mean."""
        first, (found,) = self.config().macro_epochs, self.needed("search")
        deeper = [first + place for place in range(found["depth_evaluated"])]
        narrower = [deeper[-1] + 2 * (place + 1) for place in range(found["width_evaluated"])]
        epochs = round(float(np.mean(deeper + narrower)))
        config = self.config(ranking="static", macro_epochs=epochs, random=0)
        return self._searched(config, "search-static") | {"macro_epochs": epochs}

    def _searched(self, config: GlobalConfig, name: str) -> Row:
        result = search_network(config, self.folder / name)
        test = test_images(config.source, Checkpoint.load(result.network.run).preprocessing)

        def hits(network: TrainedNetwork) -> Row:
            found = test_hits(Checkpoint.load(network.run), test)
            assert float(found[: len(test[0][1])].mean()) == network.score, "the hits are not those of the result"
            return {"test": packed(found)}

        return found_row(result, hits) | counted(test)

    def random(self) -> Row:
        """The recipe's random members, trained as the found network is."""
        config, folder = self.config(), self.folder / "random"
        prepared = prepare(config, folder)
        networks, counts = trained(config, prepared, prepared.random, config.final_epochs, folder)
        return {"random": networks} | counts

    def random_equal(self) -> Row:
        """Random members with about as many parameters as the network of ``search``, trained as it was."""
        config, folder = self.config(), self.folder / "random-equal"
        prepared, generator = prepare(config, folder), np.random.default_rng((self.seed, SAMPLE_SEED))
        wanted = parameters(self._found(), prepared.dim)
        members: list[GlobalMember] = []
        while len(members) < self.plan.few:
            member = random_member(config.bounds, generator)
            if abs(parameters(member, prepared.dim) - wanted) <= SIMILAR * wanted:
                members.append(member)
        networks, counts = trained(config, prepared, members, config.final_epochs, folder)
        return {"random": networks} | counts

    def longer(self) -> Row:
        """The network of ``search`` and the first of the recipe's random members, trained for more epochs."""
        config, folder, epochs = self.config(), self.folder / "longer", self.plan.longer
        prepared = prepare(config, folder)
        members = [self._found(), *prepared.random[: self.plan.few]]
        (network, *random), counts = trained(config, prepared, members, epochs, folder)
        return {"network": network, "random": random, "epochs": epochs} | counts

    def whole(self) -> Row:
        """The network of ``search`` trained on every training image of the dataset."""
        config, folder, epochs = self.config(), self.folder / "whole", self.plan.whole
        config = replace(config, source=replace(config.source, scenario=Scenario()))
        prepared = prepare(config, folder)
        networks, counts = trained(config, prepared, [self._found()], epochs, folder)
        return networks[0] | {"images": len(prepared.data.labels), "epochs": epochs} | counts

    def _found(self) -> GlobalMember:
        """What ``search`` found."""
        return global_named(self.needed("search")[0]["network"]["arch"])

    def ranking(self) -> Row:
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

        return rank(members, score, dim=prepared.dim, static=plan.static, step=plan.step, full=plan.full).to_json()

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


def test_images(source: Source, preprocessing: Preprocessing) -> list[Images]:
    """Pixels and labels of both splits of the test images."""
    dataset = open_dataset(source.data)
    return [(decode_split(split, preprocessing).images, split.labels) for split in map(dataset.split, TEST)]


def counted(test: Sequence[Images]) -> Row:
    """How many images hits are about: those of the query split, which come first, and all."""
    return {"queries": len(test[0][1]), "test_images": sum(len(labels) for _, labels in test)}


def test_hits(checkpoint: Checkpoint, test: Sequence[Images]) -> NDArray[np.bool_]:
    """Which of all test images a network names right."""
    return np.concatenate([classified(checkpoint, *images) for images in test])


def trained(
    config: GlobalConfig, prepared: Prepared, members: Sequence[GlobalMember], epochs: int, folder: Path
) -> tuple[list[Row], Row]:
    """Trains networks on all training images; what is kept of each, and how many test images there are."""
    test, found = test_images(config.source, prepared.preprocessing), []
    counts = counted(test)
    for number, member in enumerate(members):
        checkpoint = train_network(config, member.name, epochs, folder / str(number), prepared.data)
        figures = {"parameters": parameters(member, prepared.dim), "mmacs": prepared.cost(member)}
        hits = test_hits(checkpoint, test)
        score = float(hits[: counts["queries"]].mean())
        found.append({"arch": member.name, "score": score, **figures, "hits": {"test": packed(hits)}})
    return found, counts
