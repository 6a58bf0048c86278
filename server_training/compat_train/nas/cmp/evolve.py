"""Search for the best members of a space within a budget: evolution, or random search with as many evaluations.

Source: Guo et al., Single Path One-Shot, ECCV 2020, https://arxiv.org/abs/1904.00420, algorithm 1 and section 4 (50
members, 10 parents, 25 mutations, 25 crossovers, 20 rounds), used in Compatibility-aware Heterogeneous Visual Search,
section 3.2.2, https://arxiv.org/abs/2105.06047, with rewards that know of the gallery model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compat_sdk.errors import ConfigError, TrainingError
from compat_train.models.search_space import SCALES, Member
from compat_train.nas.cmp.config import SearchConfig
from compat_train.nas.cmp.cost import CostTable
from compat_train.nas.cmp.sampling import MemberSampler

Evaluate = Callable[[Sequence[Member]], Sequence[float | None]]
"""Rewards of members, in their order; higher is better, and None means that the candidate failed."""

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after each round with the rounds done, the rounds in all, and figures of the search so far."""

_SEARCH_SEED = 11


@dataclass(frozen=True)
class Ranked:
    """A member that was evaluated.

    Attributes:
        member: The architecture.
        reward: What it was ranked by; higher is better.
        cost: In millions of multiply-accumulates, or in milliseconds where the budget is in them.
        found_in: Round that evaluated it, from 0.
    """

    member: Member
    reward: float
    cost: float
    found_in: int


def search(
    costs: CostTable,
    sampler: MemberSampler,
    evaluate: Evaluate,
    config: SearchConfig,
    *,
    budget: float,
    floor: float | None = None,
    progress: Progress | None = None,
) -> list[Ranked]:
    """Looks for the members with the highest rewards within a budget; no member is evaluated twice.

    Round 0 evaluates random members. Every later round of an evolution evaluates children of the best members so far,
    ``config.mutations`` of one parent and ``config.crossovers`` of two, and random members in the places that no new
    child within the budget was found for. A random search draws as many members at once and evaluates them in
    the same portions. Where too few distinct members exist or are found, rounds are smaller.

    What is drawn depends on the seed, the number of the round and the rewards of earlier rounds, nothing else: a search
    that is started again with remembered rewards repeats itself.

    Args:
        costs: Cost of every choice.
        sampler: Draws the random members.
        evaluate: Called once a round with members that it has not seen. A reward that is not finite counts as a
            failure; members that failed are neither ranked nor parents, and not tried again.
        config: Sizes, rates and seed.
        budget: Most that any evaluated member takes, in the unit of ``costs``.
        floor: Least that random members take; children may take less. None: the cheapest member's.
        progress: Called after each round with the ``best`` reward so far and its ``mmacs`` or ``ms``, and how many
            ``evaluated`` members there are so far and how many of them ``failed``.

    Returns:
        All members with a reward, best first; equal rewards in the order of the members' names.

    Raises:
        ConfigError: No member fits the budget or lies above the floor.
        TrainingError: Every candidate of the first round failed.
    """
    low = costs.lowest if floor is None else max(floor, costs.lowest)
    _check_range(costs, budget, low)
    draw = _Draw(costs, sampler, config, low, budget)
    planned = (
        draw.random(config.population * config.rounds, _generator(config, 0)) if config.strategy == "random" else []
    )
    ranked: list[Ranked] = []
    evaluated = 0
    for number in range(config.rounds):
        if config.strategy == "random":
            population = planned[number * config.population :][: config.population]
        else:
            parents = [found.member for found in ranked[: config.parents]]
            population = draw.population(parents, _generator(config, number))
        rewards = evaluate(population) if population else []
        evaluated += len(population)
        ranked += [
            Ranked(member, float(reward), costs.cost(member), number)
            for member, reward in zip(population, rewards, strict=True)
            if reward is not None and math.isfinite(reward)
        ]
        ranked.sort(key=lambda found: (-found.reward, found.member.name))
        if not ranked:
            raise TrainingError(
                f"all {len(population)} candidates of the first round failed, so there is nothing to choose parents "
                f"from; the first was {population[0].name}. Its error stands with its scores: mend its cause, remove "
                f"the recorded failures and search again"
            )
        if progress is not None:
            figures = {"best": ranked[0].reward, costs.unit.lower(): ranked[0].cost}
            counts = {"evaluated": float(evaluated), "failed": float(evaluated - len(ranked))}
            progress(number + 1, config.rounds, figures | counts)
    return ranked


class _Draw:
    """Draws members that were never drawn before and that keep to the budget."""

    def __init__(
        self, costs: CostTable, sampler: MemberSampler, config: SearchConfig, low: float, budget: float
    ) -> None:
        self.seen: set[Member] = set()
        self._costs, self._sampler, self._config = costs, sampler, config
        self._low, self._budget = low, budget

    def population(self, parents: Sequence[Member], generator: np.random.Generator) -> list[Member]:
        """One round: children, and random members up to the population."""
        config = self._config
        found: list[Member] = []
        if parents:
            found += self._new(config.mutations, lambda: mutate(_one(parents, generator), config.mutation, generator))
            found += self._new(
                config.crossovers, lambda: cross(_one(parents, generator), _one(parents, generator), generator)
            )
        return found + self.random(config.population - len(found), generator)

    def random(self, wanted: int, generator: np.random.Generator) -> list[Member]:
        """Random members between the floor and the budget."""
        return self._new(wanted, lambda: self._sampler.draw(generator, self._low, self._budget))

    def _new(self, wanted: int, make: Callable[[], Member]) -> list[Member]:
        """Up to ``wanted`` members; fewer when ``tries`` attempts for each did not find them."""
        found: list[Member] = []
        for _ in range(self._config.tries * wanted):
            if len(found) == wanted:
                break
            try:
                member = make()
            except ConfigError:
                # A range with hardly any member: the sampler gives up on a draw although it succeeded before.
                if not self.seen:
                    raise
                break
            if member not in self.seen and self._costs.cost(member) <= self._budget:
                self.seen.add(member)
                found.append(member)
        return found


def mutate(parent: Member, probability: float, generator: np.random.Generator) -> Member:
    """A child whose genes are each drawn anew with a probability; a drawn gene may be the old one.

    Args:
        parent: Its genes are an operation and a scale for each block.
        probability: For each gene by itself, in [0, 1].
        generator: Source of all choices.
    """
    blocks = len(parent.operations)
    anew = generator.random((2, blocks)) < probability
    operations = np.where(anew[0], generator.integers(len(parent.space.operations), size=blocks), parent.operations)
    scales = np.where(anew[1], generator.integers(len(SCALES), size=blocks), parent.scales)
    return Member(parent.space, tuple(operations.tolist()), tuple(scales.tolist()))


def cross(one: Member, other: Member, generator: np.random.Generator) -> Member:
    """A child that takes each block, its operation with its scale, from one of two parents at random."""
    first = generator.random(len(one.operations)) < 0.5
    operations = np.where(first, one.operations, other.operations)
    scales = np.where(first, one.scales, other.scales)
    return Member(one.space, tuple(operations.tolist()), tuple(scales.tolist()))


def _one(parents: Sequence[Member], generator: np.random.Generator) -> Member:
    return parents[int(generator.integers(len(parents)))]


def _generator(config: SearchConfig, number: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, _SEARCH_SEED, number])


def _check_range(costs: CostTable, budget: float, low: float) -> None:
    where = f"members of {costs.space.name} take {costs.lowest:.4g} to {costs.highest:.4g} {costs.unit}"
    if not budget >= costs.lowest:
        raise ConfigError(
            f"the budget is {budget:g} {costs.unit}, but {where}; raise it, or make the space cheaper with a "
            f"smaller stem, stage channels or last convolution"
        )
    if not low <= min(budget, costs.highest):
        raise ConfigError(
            f"the floor is {low:g} {costs.unit} and the budget {budget:g}, and {where}; lower the floor below both"
        )
