"""The search keeps its promises on rewards that cost nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, TrainingError
from compat_train.models.search_space import SCALES, Member, SearchSpace
from compat_train.nas.cmp.config import SearchConfig
from compat_train.nas.cmp.cost import CostTable, cost_table
from compat_train.nas.cmp.evolve import Ranked, cross, mutate, search
from compat_train.nas.cmp.sampling import MemberSampler

SMALL = SearchConfig(population=12, parents=4, crossovers=5, mutations=5, rounds=6, seed=1)


def costs() -> CostTable:
    """Seconds of work at the first call, so that no process does it which only lists tests."""
    return cost_table(SearchSpace(), size=32)


def tiny() -> CostTable:
    return cost_table(SearchSpace(repeats=(1, 1, 1, 1)), size=32)


def budget() -> float:
    return costs().lowest + 0.3 * (costs().highest - costs().lowest)


@pytest.fixture(scope="module")
def sampler() -> MemberSampler:
    return MemberSampler(costs())


@pytest.fixture(scope="module")
def tiny_sampler() -> MemberSampler:
    return MemberSampler(tiny())


def smooth(member: Member) -> float:
    """In [0, 1], highest where every block has operation 1 and scale 6; no block alone decides much."""
    near = [
        (operation == 1) + 1 - abs(scale - 6) / 9
        for operation, scale in zip(member.operations, member.scales, strict=True)
    ]
    return sum(near) / (2 * len(near))


class Recorder:
    """Evaluates and keeps what it was asked, a list a round."""

    def __init__(self, failing: Sequence[int] = ()) -> None:
        self.rounds: list[list[Member]] = []
        self.failing = failing

    def __call__(self, members: Sequence[Member]) -> list[float | None]:
        self.rounds.append(list(members))
        return [None if member.scales[0] in self.failing else smooth(member) for member in members]

    @property
    def members(self) -> list[Member]:
        return [member for members in self.rounds for member in members]


def names(found: Sequence[Ranked]) -> list[str]:
    return [ranked.member.name for ranked in found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_both_strategies_evaluate_as_many_members_and_end_with_the_best_of_them(
    strategy: str, seed: int, sampler: MemberSampler
) -> None:
    # Which of them finds a better one is a matter of the reward and of luck: benchmarks/studies/cmp_nas/cmp_nas.md.
    seen = Recorder()
    config = replace(SMALL, strategy=strategy, seed=seed)  # type: ignore[arg-type]
    found = search(costs(), sampler, seen, config, budget=budget())
    assert len(set(seen.members)) == len(seen.members) == 12 * 6
    assert found[0].reward == max(map(smooth, seen.members))


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_every_evaluated_member_is_new_and_within_the_budget(strategy: str, sampler: MemberSampler) -> None:
    seen = Recorder()
    found = search(costs(), sampler, seen, replace(SMALL, strategy=strategy), budget=budget())  # type: ignore[arg-type]
    assert len(set(seen.members)) == len(seen.members) == len(found)
    assert [len(members) for members in seen.rounds] == [12] * 6
    assert all(costs().cost(member) <= budget() for member in seen.members)
    for ranked in found:
        assert ranked.member in seen.rounds[ranked.found_in]
        assert (ranked.reward, ranked.cost) == (smooth(ranked.member), costs().cost(ranked.member))


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_the_seed_decides_everything(strategy: str, sampler: MemberSampler) -> None:
    config = replace(SMALL, strategy=strategy)  # type: ignore[arg-type]
    first, again, other = Recorder(), Recorder(), Recorder()
    assert search(costs(), sampler, first, config, budget=budget()) == search(
        costs(), sampler, again, config, budget=budget()
    )
    search(costs(), sampler, other, replace(config, seed=2), budget=budget())
    assert first.rounds == again.rounds
    assert not set(first.members) & set(other.members)


def test_a_longer_search_begins_with_the_rounds_of_a_shorter_one(sampler: MemberSampler) -> None:
    short, long = Recorder(), Recorder()
    search(costs(), sampler, short, replace(SMALL, rounds=3), budget=budget())
    search(costs(), sampler, long, SMALL, budget=budget())
    assert long.rounds[:3] == short.rounds


def test_members_are_ranked_by_reward_and_then_by_name(sampler: MemberSampler) -> None:
    found = search(
        costs(), sampler, lambda members: [member.scales[0] / 9 for member in members], SMALL, budget=budget()
    )
    assert found == sorted(found, key=lambda ranked: (-ranked.reward, ranked.member.name))
    assert len({ranked.reward for ranked in found}) < len(found)


def test_children_come_from_the_best_members_so_far(sampler: MemberSampler) -> None:
    seen = Recorder()
    config = replace(SMALL, mutations=12, crossovers=0, mutation=0.05, rounds=2)
    search(costs(), sampler, seen, config, budget=budget())
    parents = sorted(seen.rounds[0], key=lambda member: (-smooth(member), member.name))[:4]

    def changes(child: Member, parent: Member) -> int:
        return int(np.sum(np.array([child.operations, child.scales]) != np.array([parent.operations, parent.scales])))

    assert all(min(changes(child, parent) for parent in parents) <= 8 for child in seen.rounds[1])


def test_random_members_keep_above_the_floor(sampler: MemberSampler) -> None:
    seen = Recorder()
    floor = 0.9 * budget()
    search(costs(), sampler, seen, replace(SMALL, strategy="random"), budget=budget(), floor=floor)
    assert all(floor <= costs().cost(member) <= budget() for member in seen.members)


@pytest.mark.parametrize("failure", [None, float("nan"), float("inf")])
def test_failed_candidates_are_never_ranked_and_never_parents(failure: float | None, sampler: MemberSampler) -> None:
    asked: list[Member] = []

    def evaluate(members: Sequence[Member]) -> list[float | None]:
        asked.extend(members)
        return [failure if member.scales[0] < 7 else smooth(member) for member in members]

    # Children of two parents only: each takes the scale of its first block from one of them.
    config = replace(SMALL, population=40, mutations=0, crossovers=40, rounds=2)
    found = search(costs(), sampler, evaluate, config, budget=budget())
    assert {ranked.member for ranked in found} == {member for member in asked if member.scales[0] >= 7}
    assert any(member.scales[0] < 7 for member in asked[:40])
    assert all(member.scales[0] >= 7 for member in asked[40:])


def test_a_search_whose_first_candidates_all_failed_stops_and_names_one(sampler: MemberSampler) -> None:
    seen = Recorder(failing=range(10))
    with pytest.raises(TrainingError, match=r"all 12 candidates of the first round failed.*first was cmp:shuffle:"):
        search(costs(), sampler, seen, SMALL, budget=budget())
    assert len(seen.rounds) == 1


@pytest.mark.parametrize("part", [0.5, float("nan"), -1.0])
def test_a_budget_below_every_member_is_refused_with_the_range(part: float, sampler: MemberSampler) -> None:
    with pytest.raises(ConfigError, match=rf"take {costs().lowest:.4g} to {costs().highest:.4g} MMACs; raise it"):
        search(costs(), sampler, Recorder(), SMALL, budget=part * costs().lowest)


def test_a_floor_above_the_budget_is_refused(sampler: MemberSampler) -> None:
    with pytest.raises(ConfigError, match="lower the floor"):
        search(costs(), sampler, Recorder(), SMALL, budget=budget(), floor=1.1 * budget())


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_a_budget_that_one_member_fits_ends_with_that_member(strategy: str, tiny_sampler: MemberSampler) -> None:
    seen = Recorder()
    config = replace(SMALL, strategy=strategy)  # type: ignore[arg-type]
    found = search(tiny(), tiny_sampler, seen, config, budget=tiny().lowest)
    assert [ranked.cost for ranked in found] == [tiny().lowest]
    assert len(seen.members) == 1


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_a_search_that_runs_out_of_members_goes_on_with_fewer(strategy: str, tiny_sampler: MemberSampler) -> None:
    seen = Recorder()
    done: list[int] = []
    config = replace(SMALL, strategy=strategy, rounds=30)  # type: ignore[arg-type]
    search(
        tiny(),
        tiny_sampler,
        seen,
        config,
        budget=tiny().lowest + 0.004 * (tiny().highest - tiny().lowest),
        progress=lambda number, total, values: done.append(number),
    )
    assert 1 < len(set(seen.members)) == len(seen.members) < 12 * 30
    assert done == list(range(1, 31))


def test_progress_reports_the_best_so_far_and_the_failures(sampler: MemberSampler) -> None:
    reports: list[tuple[int, int, Mapping[str, float]]] = []
    seen = Recorder(failing=(0,))
    found = search(costs(), sampler, seen, SMALL, budget=budget(), progress=lambda *report: reports.append(report))
    assert [report[:2] for report in reports] == [(number, 6) for number in range(1, 7)]
    best = [values["best"] for _, _, values in reports]
    assert best == sorted(best) and best[-1] == found[0].reward
    failed = sum(member.scales[0] == 0 for member in seen.members)
    assert failed and reports[-1][2] == {
        "best": found[0].reward,
        "mmacs": found[0].cost,
        "evaluated": 72.0,
        "failed": float(failed),
    }


def test_mutation_draws_each_gene_anew_with_its_probability() -> None:
    space = SearchSpace()
    parent = Member(space, (0,) * 20, (0,) * 20)
    generator = np.random.default_rng(0)
    assert mutate(parent, 0.0, generator) == parent
    children = [mutate(parent, 0.2, generator) for _ in range(2000)]
    operations = np.array([child.operations for child in children])
    scales = np.array([child.scales for child in children])
    # A gene drawn anew is the old one in 1 of 4 and 1 of 10 cases; 40,000 genes: a standard error of 0.002.
    assert abs((operations != 0).mean() - 0.2 * 3 / 4) < 0.01
    assert abs((scales != 0).mean() - 0.2 * (1 - 1 / len(SCALES))) < 0.01
    assert set(operations.flat) == set(range(4)) and set(scales.flat) == set(range(10))


def test_crossing_takes_a_blocks_operation_together_with_its_scale() -> None:
    space = SearchSpace()
    one, other = Member(space, (0,) * 20, (2,) * 20), Member(space, (3,) * 20, (7,) * 20)
    generator = np.random.default_rng(0)
    children = [cross(one, other, generator) for _ in range(500)]
    assert {pair for child in children for pair in zip(child.operations, child.scales, strict=True)} == {(0, 2), (3, 7)}
    assert abs(np.mean([child.scales for child in children]) - 4.5) < 0.1
