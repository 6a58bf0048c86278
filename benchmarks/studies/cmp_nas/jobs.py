"""The networks that one seed trains, most telling ones first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.cmp_nas.search import MAIN, SCHEDULE, folder_of, search_config
from compat_train.config.parts import Source
from compat_train.config.query import QueryConfig
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.search_space import Member
from compat_train.nas.cmp.config import TABLE_5
from compat_train.nas.cmp.cost import CostTable
from compat_train.nas.cmp.run import prepare
from compat_train.nas.cmp.sampling import MemberSampler

FIG4 = (0.60, 0.65)  # MMACs of the random members of Fig. 4


@dataclass(frozen=True)
class Job:
    """One network to train and evaluate: a row of the results."""

    name: str
    seed: int
    config: QueryConfig
    about: dict[str, Any]


def jobs_of_seed(root: str, runs: Path, seed: int, searches: list[dict[str, Any]]) -> Iterator[tuple[int, Job]]:
    """Every network of a seed, each with its priority: lower is trained earlier."""
    base = search_config(root, runs, seed)
    for arch, width in static_widths().items():
        yield 0, Job(f"static-{arch}", seed, base.training(arch, width=width), {"stage": "static", "width": width})
    for name, method, start in (
        ("scratch", "vanilla", "none"),
        ("kd", "kd", "none"),
        ("bct", "bct", "none"),
        ("finetune-magnitude", "finetune", "magnitude"),
        ("finetune-channel", "finetune", "channel"),
        ("bct-magnitude", "bct", "magnitude"),
        ("bct-channel", "bct", "channel"),
    ):
        config = replace(
            base.training("resnet18_pruned0.9", width=0.1875),
            method=method,  # type: ignore[arg-type]
            inherit=start,  # type: ignore[arg-type]
            stem_stride=1,
            optimisation=replace(SCHEDULE, lr=0.1),
        )
        yield 1, Job(f"pruned-{name}", seed, config, {"stage": "table4"})
    for search in (found for found in searches if found["seed"] == seed):
        # All five where rewards are compared; two of the other tiers and of random search.
        compared = search["budget"] == MAIN and search["variant"] != "random"
        for place, best in enumerate(search["best"][: 5 if compared else 2], 1):
            about = {"stage": "search", "variant": search["variant"], "budget": search["budget"], "place": place}
            about |= {"reward": best["reward"]}
            name = f"{search['variant']}-{search['budget']:g}-{place}"
            yield 2 + 2 * place, Job(name, seed, base.training(best["arch"]), about)
    for found in (found for found in searches if found["seed"] == seed and found["variant"] == "r3"):
        budget, best = found["budget"], found["best"][0]["arch"]
        remedies = {
            "regression-unlabelled": replace(
                base.training(best), method="regression", source=Source(data="kanji", root=root)
            ),
        }
        if budget == MAIN:
            remedies["regression-mixed"] = replace(base.training(best), method="regression", mixed=True)
            remedies["infonce-unlabelled"] = replace(remedies["regression-unlabelled"], method="infonce")
        for name, config in remedies.items():
            about = {"stage": "remedy", "variant": name, "budget": budget}
            yield 5, Job(f"{name}-{budget:g}", seed, config, about)
    if seed == 0 and searches:
        for number, member in enumerate(fig4_members(prepare(base, folder_of(runs, seed, False)).costs)):
            for method in ("bct", "vanilla"):
                config = replace(base.training(member.name), method=method)  # type: ignore[arg-type]
                yield 9, Job(f"fig4-{method}-{number}", seed, config, {"stage": "fig4", "method": method})


def fig4_members(costs: CostTable) -> list[Member]:
    """The random members of equal cost of Fig. 4, the same each time."""
    sampler, generator = MemberSampler(costs), np.random.default_rng(4)
    return [sampler.draw(generator, *FIG4) for _ in range(40)]


def static_widths() -> dict[str, float]:
    """Width of each static network, in steps of 1/80, at which it comes closest to the main tier from below.

    Channel counts are multiples of 8, so some networks do not go that low: these take their cheapest width.
    """
    found = {}
    for arch in dict.fromkeys(name.removesuffix("_0.5") for name in TABLE_5):
        costs = {
            step / 80: count_cost(build_model(arch, dim=128, width=step / 80, stem_stride=2), 64).mmacs
            for step in range(2, 40)
        }
        fitting = [width for width, cost in costs.items() if cost <= MAIN]
        found[arch] = max(fitting, default=min(costs, key=costs.__getitem__))
    return found


def trained_already(job: Job, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the same network found by another search of the same seed: training it again would repeat it."""
    if job.about["stage"] != "search":
        return None
    same = (row for row in rows if row["stage"] == "search" and row["seed"] == job.seed)
    return next((row for row in same if row["arch"] == job.config.arch), None)
