"""What a global search reports: the network, how it was found, and what chance would have given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from compat_train.evaluation.result import Evaluation
from compat_train.models.global_space import Bounds
from compat_train.nas.global_nas.config import Objective
from compat_train.nas.global_nas.search import Found, operations_and_kernels


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network that was trained to the end on all training images.

    Attributes:
        run: Its RUN folder, ready for export.
        arch: Architecture name.
        score: Its accuracy on the test images, in [0, 1]: of classification on the query split, or the search's
            objective on the query and gallery splits.
        parameters: Of the embedding network.
        mmacs: Multiply-adds for one image, in millions.
        evaluation: Retrieval in full; None for classification.
        milliseconds: What it takes by the table of a device; None without one.
    """

    run: Path
    arch: str
    score: float
    parameters: int
    mmacs: float
    evaluation: Evaluation | None = None
    milliseconds: float | None = None

    def to_json(self) -> dict[str, object]:
        """The attributes as JSON values, the evaluation as its own report has it."""
        return {
            "run": str(self.run),
            "arch": self.arch,
            "score": self.score,
            "parameters": self.parameters,
            "mmacs": self.mmacs,
            **({} if self.milliseconds is None else {"milliseconds": self.milliseconds}),
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
        }


@dataclass(frozen=True, eq=False)
class GlobalResult:
    """A finished search.

    Attributes:
        objective: What it was after.
        bounds: Where it was allowed to look.
        found: How it went.
        network: The network that it found, trained.
        random: Random members of the space, trained alike.
        diverged: What was said of the random members whose training diverged; they are not in ``random``.
        judged_on: Which images told the candidates apart, in words.
        device: What trained, ``cpu`` or ``cuda``.
        cpu_seconds: CPU time of all candidates, each from the last time that its training was begun or resumed.
        wall_seconds: Time on the clock, likewise: the cost where a GPU trains.
        resumed: Candidates whose training was resumed after an interruption, so that the times lack a part of theirs.
    """

    objective: Objective
    bounds: Bounds
    found: Found
    network: TrainedNetwork
    random: tuple[TrainedNetwork, ...]
    diverged: tuple[str, ...]
    judged_on: str
    device: str
    cpu_seconds: float
    wall_seconds: float
    resumed: int

    @property
    def relative_improvement(self) -> float | None:
        """RI in percent, None without random members; above 0 for a search that is worth its cost.

        Random members whose training diverged are left out, which lowers it.

        Source: Efficient Global Neural Architecture Search, section 4.1, after Yang et al., NAS evaluation
        is frustratingly hard, https://arxiv.org/abs/1912.12522.
        """
        if not self.random:
            return None
        return relative_improvement(self.network.score, [network.score for network in self.random])

    def to_json(self) -> dict[str, object]:
        """JSON values; scores are fractions, RI is in percent. D, W, O and K are the paper's symbols."""
        member, found = self.found.member, self.found
        operations, kernels = operations_and_kernels(member.layers)
        return {
            "objective": self.objective,
            "D": member.depth,
            "W": member.width,
            "O": operations,
            "K": kernels,
            "macro": found.macro.name,
            "depth_evaluated": found.trained("depth"),
            "width_evaluated": found.trained("width"),
            "micro_evaluated": found.trained("baseline", "operation", "kernel"),
            "evaluated": found.planned,
            "space_members": self.bounds.members(member.depth),
            "judged_on": self.judged_on,
            "device": self.device,
            "search_cpu_seconds": self.cpu_seconds,
            "search_wall_seconds": self.wall_seconds,
            "resumed": self.resumed,
            "network": self.network.to_json(),
            "random": [network.to_json() for network in self.random],
            "random_diverged": list(self.diverged),
            "relative_improvement": self.relative_improvement,
        }

    def table(self) -> str:
        """Plain text: what was found, and by how much it beats random members."""
        member, found = self.found.member, self.found
        operations, kernels = operations_and_kernels(member.layers)
        name = {"accuracy": "accuracy", "retrieval": "M(q,q)", "r3": "M(q,q) * M(q,g)"}[self.objective]
        trained = [found.trained(*stages) for stages in (("depth",), ("width",), ("baseline", "operation", "kernel"))]
        lines = [
            f"depth {member.depth}, width {member.width}, operations {operations}, kernels {kernels}",
            f"{sum(trained)} networks trained ({trained[0]} for depth, {trained[1]} for width, {trained[2]} for "
            f"operations and kernels) of {_count(self.bounds.members(member.depth))} in the space; "
            f"{self._cost()}"
            + (f" and what {self.resumed} of them had taken before they were resumed" if self.resumed else ""),
            f"judged on {self.judged_on}",
            f"{'network':12}{'parameters':>12}{'MMACs':>9}{name + ', %':>19}"
            + (f"{'M(q,q), %':>11}{'M(q,g), %':>11}  rule" if self.objective == "r3" else ""),
        ]
        for title, network in [("found", self.network)] + [
            (f"random {number}", network) for number, network in enumerate(self.random, 1)
        ]:
            line = f"{title:12}{network.parameters:12,}{network.mmacs:9.3g}{100 * network.score:19.2f}"
            if self.objective == "r3" and (sides := network.evaluation) is not None:
                line += f"{100 * sides.query_query.accuracy:11.2f}{100 * sides.query_gallery.accuracy:11.2f}"
                line += f"  {'holds' if sides.compatible else 'does not hold'}"
            lines.append(line)
        lines += [f"a random member is left out: {reason}" for reason in self.diverged]
        if self.relative_improvement is not None:
            lines.append(f"relative improvement over random members: {self.relative_improvement:+.2f} %")
        return "\n".join(lines)

    def _cost(self) -> str:
        if self.device == "cpu":
            return f"{self.cpu_seconds / 3600:.2g} CPU hours"
        return f"{self.wall_seconds / 3600:.2g} hours of one {self.device} device"


def relative_improvement(score: float, random: list[float]) -> float | None:
    """100 * (Acc_m - Acc_r) / Acc_r, where Acc_r is the mean over random members; None where that is 0.

    Args:
        score: Accuracy of what the search found.
        random: Accuracies of random members, at least one.
    """
    mean = math.fsum(random) / len(random)
    return 100 * (score - mean) / mean if mean else None


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**6 else f"10^{math.log10(number):.1f}"
