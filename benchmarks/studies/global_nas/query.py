"""Rows that are about R3: the search for a query network beside CMP-NAS."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy.kanji_compatibility import gallery_config
from benchmarks.pages import packed
from benchmarks.rows import Row
from benchmarks.studies.cmp_nas.search import search_config
from benchmarks.studies.global_nas.study import SAMPLE_SEED, Study, found_row
from compat_train.evaluation.result import Evaluation
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.nas.cmp.run import measure, search_tiers
from compat_train.nas.cmp.run import prepare as prepare_cmp
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.global_nas.result import TrainedNetwork
from compat_train.nas.global_nas.run import search_network


class QueryStudy(Study):
    """The compatibility reward R3 against a gallery model under a limit, as the objective."""

    def row(self, name: str) -> Row:
        """One of the plan's rows."""
        compute: dict[str, Callable[[], Row]] = {
            "kanji-r3": self.kanji_r3,
            "cmp": self.cmp,
            "cmp-equal": lambda: self.cmp(self._equal_epochs()),
        }
        return compute[name]()

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
            epochs: Of the supernet, and train random members too; None: those of its own study, and no random ones.
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
            {"arch": found.arch, "mmacs": prepared.costs.cost(member), "hits": both_sides(found.evaluation)}
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
        of_global, of_cmp = self.needed("kanji-r3", "cmp")
        an_epoch: float = of_cmp["supernet_cpu_seconds"] / of_cmp["supernet_epochs"]
        left: float = of_global["search_cpu_seconds"] - of_cmp["search_cpu_seconds"]
        return max(1, round(left / an_epoch))

    def _gallery(self) -> Path:
        run = self.runs / "kanji" / f"gallery-{self.seed}"
        train_gallery(gallery_config(self.root, self.seed), run)
        return run


def both_sides(evaluation: Evaluation) -> Row:
    """Hits of a query network's queries among its own embeddings and among the gallery model's."""
    pairs = {"own": "query_query", "across": "query_gallery"}
    return {side: packed(evaluation.per_query[pair].hits(1) > 0) for side, pair in pairs.items()}
