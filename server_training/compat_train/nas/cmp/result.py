"""What a CMP-NAS run reports: every retrained network, not the luckiest, beside the static ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compat_train.evaluation.result import Evaluation, percent
from compat_train.nas.cmp.evolve import Ranked


@dataclass(frozen=True, eq=False)
class Network:
    """One trained and evaluated network.

    Attributes:
        run: Its RUN folder, ready for export.
        arch: Architecture name.
        tier: Budget it was searched for; None for a static network.
        place: Its place by reward within the tier, from 1; None for a static network.
        found: What the search said of it; None for a static network.
        evaluation: M(q,q), M(q,g) and M(g,g) on the query and gallery splits.
        unit: What the tier is in: ``"ms"``, or "" for MMACs.
    """

    run: Path
    arch: str
    tier: float | None
    place: int | None
    found: Ranked | None
    evaluation: Evaluation
    unit: str = ""

    @property
    def name(self) -> str:
        """Short name for tables: ``100 / 1`` is the best of the tier of 100 MMACs, ``2ms / 1`` of 2 milliseconds."""
        return self.arch if self.tier is None else f"{self.tier:g}{self.unit} / {self.place}"

    @property
    def milliseconds(self) -> float | None:
        """What it takes by the table of a device; None where the search had none, and for a static network."""
        return self.found.cost if self.unit and self.found is not None else None

    def to_json(self) -> dict[str, object]:
        """JSON values; accuracies and rewards are fractions."""
        return {
            "name": self.name,
            "run": str(self.run),
            "arch": self.arch,
            "tier": self.tier,
            "place": self.place,
            "reward": None if self.found is None else self.found.reward,
            "found_in_round": None if self.found is None else self.found.found_in,
            **({} if self.milliseconds is None else {"milliseconds": self.milliseconds}),
            **self.evaluation.to_json(),
        }


@dataclass(frozen=True, eq=False)
class CmpResult:
    """All networks of a run, searched ones first.

    Attributes:
        networks: Those that were trained and measured.
        diverged: Why others are not among them, one sentence each.
    """

    networks: tuple[Network, ...]
    diverged: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """JSON values, one entry per network."""
        return {"networks": [network.to_json() for network in self.networks], "diverged": list(self.diverged)}

    def table(self) -> str:
        """Plain text: one line per network, searched ones by tier and reward, then static ones by cost."""
        lines = [
            f"{'network':20}{'MMACs':>9}{'reward':>9}{'M(q,q)':>9}{'M(q,g) [95 %]':>24}{'rule':>7}",
        ]
        searched = [network for network in self.networks if network.tier is not None]
        static = sorted(
            (network for network in self.networks if network.tier is None),
            key=lambda network: network.evaluation.query_mmacs or 0.0,
        )
        for network in (*searched, *static):
            scores = network.evaluation.query_gallery
            reward = "" if network.found is None else f"{network.found.reward:.4f}"
            lines.append(
                f"{network.name:20}{network.evaluation.query_mmacs:9.3g}{reward:>9}"
                f"{100 * network.evaluation.query_query.accuracy:9.1f}"
                f"{percent(scores.accuracy, scores.interval):>24}"
                f"{'holds' if network.evaluation.compatible else 'no':>7}"
            )
        if self.networks:
            first = self.networks[0].evaluation
            lines.append(
                f"{'gallery model':20}{first.gallery_mmacs or 0.0:9.3g}{'':9}"
                f"{100 * first.gallery_gallery.accuracy:9.1f}{'M(g,g), the paragon':>24}"
            )
            lines.append(f"accuracies are {first.metric}, in percent")
        lines += [f"a network is left out: {reason}" for reason in self.diverged]
        return "\n".join(lines)
