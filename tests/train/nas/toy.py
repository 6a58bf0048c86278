"""A measure by a formula. Worker processes import it, and it imports no torch: they start in a moment."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compat_sdk.errors import ImageError
from compat_train.models.search_space import Member, SearchSpace
from compat_train.nas.cmp.evaluations import Evaluations, Measure, Need, Score

if TYPE_CHECKING:
    from compat_train.nas.cmp.cost import CostTable

SPACE = SearchSpace()
SETTINGS = {"supernet": "ab12", "validation": {"queries": 40, "digest": "cd34"}}


def member(number: int) -> Member:
    digits = [int(digit) for digit in f"{number:020d}"]
    return Member(SPACE, tuple(digit % 4 for digit in digits), tuple(digits))


MEMBERS = [member(number) for number in range(10)]


def own_of(member: Member) -> float:
    return sum(member.scales) / 180


def across_of(member: Member) -> float:
    return sum(member.operations) / 61


@dataclass(frozen=True)
class Toy:
    """Scores by a formula; the file keeps what was asked, a line each, from whichever process.

    A member whose last scale is in ``raising`` raises, in ``deadly`` it kills its process.
    """

    calls: Path
    raising: Sequence[int] = ()
    deadly: Sequence[int] = ()
    seconds: float = 0.0

    def __call__(self) -> Measure:
        self.note("make")
        return self.measure

    def measure(self, member: Member, need: Need) -> Score:
        self.note(f"{need} {member.name}")
        time.sleep(self.seconds)
        if member.scales[-1] in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if member.scales[-1] in self.raising:
            raise RuntimeError(f"no scale {member.scales[-1]}")
        return Score(
            own_of(member) if need != "across" else None,
            across_of(member) if need != "own" else None,
            None,
        )

    def note(self, text: str) -> None:
        with self.calls.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def asked(self) -> Counter[str]:
        return Counter(self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else ())


def raise_on_start() -> Measure:
    raise ImageError("a.png", "cut off")


def die_on_start() -> Measure:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def toy_costs() -> CostTable:
    from compat_train.nas.cmp.cost import cost_table

    return cost_table(SPACE, size=32)


def toy_search(
    path: Path,
    workers: int = 0,
    seconds: float = 0.0,
    progress: Callable[..., None] | None = None,
    costs: CostTable | None = None,
) -> list[tuple[str, float, int]]:
    """A whole search with remembered scores: names, rewards and rounds, best first. Costs take seconds to count."""
    from compat_train.nas.cmp.config import SearchConfig
    from compat_train.nas.cmp.evolve import search
    from compat_train.nas.cmp.sampling import MemberSampler

    costs = costs or toy_costs()
    toy = Toy(path.with_name("calls.txt"), raising=(9,), seconds=seconds)
    config = SearchConfig(population=8, parents=3, crossovers=3, mutations=3, rounds=5, seed=4)
    with Evaluations(path, SETTINGS, toy, workers=workers) as evaluations:

        def evaluate(members: Sequence[Member]) -> list[float | None]:
            return [
                None if score.own is None or score.across is None else score.own * score.across
                for score in evaluations.scores(members, "both")
            ]

        found = search(costs, MemberSampler(costs), evaluate, config, budget=costs.highest / 2, progress=progress)
    return [(ranked.member.name, ranked.reward, ranked.found_in) for ranked in found]
