"""Accuracy of a heterogeneous search system beside its two homogeneous ends.

M(q, g) is the accuracy when the query model embeds the queries and the gallery model the gallery. A query model is
*compatible* when M(q, g) > M(q, q): otherwise one would embed the gallery with the small model too, and save work.

Source: Compatibility-aware Heterogeneous Visual Search, section 3.1, https://arxiv.org/abs/2105.06047

A new gallery model is held to another rule, M(new, old) > M(old, old): its queries must do better in the old gallery
than the old model's, or nobody would deploy it before the gallery is embedded again. That it does better still in a
gallery of its own, M(new, new), is what it was trained for, and no fault.

Source: Darwinian Model Upgrades (DMU), https://arxiv.org/abs/2210.06954, Eq. 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compat_sdk.certificate import QUERY_RULE
from compat_sdk.metrics import (
    CostCurve,
    Metric,
    PerQuery,
    RetrievalScores,
    cost_curve,
)
from compat_sdk.shown import escaped
from compat_train.evaluation.examples import Example

SHOWN = ("top-1", "top-5", "top-10", "map")
"""Accuracies that the table of every evaluation shows."""
PAIRS = ("query_query", "query_gallery", "gallery_gallery")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The three accuracies of a query model and a gallery model on one dataset, and what follows from them.

    Attributes:
        query_query: M(q, q): the query model embeds everything.
        query_gallery: M(q, g): the heterogeneous system.
        gallery_gallery: M(g, g): the gallery model embeds everything, the paragon.
        rule: Difference M(q, g) - M(q, q) in the accuracy that was asked for, and its 95 % paired bootstrap interval,
            as fractions; of a new gallery model M(new, old) - M(old, old).
        rule_applied: The rule: `QUERY_RULE`, or `NEW_MODEL_RULE` where the model that asks is a gallery model that
            declares the other's space.
        declared: Whether the query model declares that it may search the gallery model's space. The accuracy across
            undeclared spaces is measured all the same; a search would be refused.
        queries: Queries scored.
        gallery_size: Images in the gallery.
        skipped: Queries left out because the gallery holds no image of their label.
        query_mmacs: Cost of embedding one image with the query model, in MMACs; None where only its vectors are known.
        gallery_mmacs: Cost of embedding one image with the gallery model, the same.
        query_space: Space of the query model.
        gallery_space: Space of the gallery model.
        query_name: Name of the query model.
        gallery_name: Name of the gallery model.
        own: Queries whose own picture stands in the gallery; it is left out of their rankings.
        copies: Queries of which the gallery holds further copies. Those count, and are easily found.
        per_query: Rank and average precision of each scored query under the keys ``query_query``, ``query_gallery``,
            ``gallery_gallery``, in one order, for paired comparisons with other systems on the same dataset.
        examples: A few queries with what they find, where they were asked for.
        query_ms: Median time of the query model for one decoded image, in milliseconds, where examples were asked for.
        gallery_ms: The same of the gallery model.
    """

    query_query: RetrievalScores
    query_gallery: RetrievalScores
    gallery_gallery: RetrievalScores
    rule: tuple[float, float, float]
    declared: bool
    queries: int
    gallery_size: int
    skipped: int
    query_mmacs: float | None
    gallery_mmacs: float | None
    query_space: str
    gallery_space: str
    query_name: str
    gallery_name: str
    own: int
    copies: int
    per_query: Mapping[str, PerQuery] = field(repr=False)
    rule_applied: str = QUERY_RULE
    examples: tuple[Example, ...] = field(default=(), repr=False)
    query_ms: float | None = None
    gallery_ms: float | None = None

    @property
    def alone(self) -> RetrievalScores:
        """What M(q, g) must exceed: M(q, q), or M(old, old) for a new gallery model."""
        return self.query_query if self.rule_applied == QUERY_RULE else self.gallery_gallery

    @property
    def compatible(self) -> bool:
        """Whether the rule holds in the accuracy that was asked for. Whether by more than chance, ``rule`` says."""
        return self.query_gallery.accuracy > self.alone.accuracy

    @property
    def metric(self) -> Metric:
        """The accuracy that the rule compares."""
        return self.query_gallery.metric

    @property
    def rule_text(self) -> str:
        """The rule with its two accuracies, in percent, and what they are of."""
        whose = "a query model" if self.rule_applied == QUERY_RULE else "a new gallery model"
        across, alone = 100 * self.query_gallery.accuracy, 100 * self.alone.accuracy
        return f"{self.rule_applied} (of {whose}): {across:.1f} % against {alone:.1f} % at {self.metric}"

    @property
    def amortised(self) -> CostCurve | None:
        """Mean cost per embedded image against queries per gallery image, Fig. 3b; None where a cost is not known."""
        if self.query_mmacs is None or self.gallery_mmacs is None:
            return None
        return cost_curve(self.query_mmacs, self.gallery_mmacs)

    def to_json(self) -> dict[str, object]:
        """JSON values; accuracies are fractions in [0, 1]."""
        return {
            **{pair: getattr(self, pair).to_json() for pair in PAIRS},
            "compatible": self.compatible,
            "rule": dict(zip(("difference", "lo", "hi"), self.rule, strict=True)),
            "rule_applied": self.rule_applied,
            "metric": str(self.metric),
            "declared": self.declared,
            "queries": self.queries,
            "skipped": self.skipped,
            "gallery_size": self.gallery_size,
            "own_images_left_out": self.own,
            "queries_with_copies": self.copies,
            "query_space": self.query_space,
            "gallery_space": self.gallery_space,
            "query_model": self.query_name,
            "gallery_model": self.gallery_name,
            "query_mmacs": self.query_mmacs,
            "gallery_mmacs": self.gallery_mmacs,
            "amortised_mmacs": None if self.amortised is None else self.amortised.to_json(),
        }

    def table(self) -> str:
        """Plain text: percentages with 95 % intervals, the rule and the costs."""
        added = str(self.metric) not in SHOWN
        lines = [
            f"{'percent':10}{'top-1 [95 %]':22}{'top-5':>8}{'top-10':>8}{'mAP [95 %]':>22}"
            + (f"{f'{self.metric} [95 %]':>26}" if added else "")
        ]
        for pair, name in zip(PAIRS, ("M(q,q)", "M(q,g)", "M(g,g)"), strict=True):
            scores: RetrievalScores = getattr(self, pair)
            lines.append(
                f"{name:10}{percent(scores.cmc[1], scores.ci95['1']):22}{100 * scores.cmc[5]:8.1f}"
                f"{100 * scores.cmc[10]:8.1f}{percent(scores.map, scores.ci95['map']):>22}"
                + (f"{percent(scores.accuracy, scores.interval):>26}" if added else "")
            )
        difference, low, high = (100 * value for value in self.rule)
        lines.append(
            f"rule {self.rule_applied} {'holds' if self.compatible else 'does not hold'}: {difference:+.1f} points"
            f"{'' if self.metric == Metric() else f' of {self.metric}'}, 95 % interval [{low:+.1f}, {high:+.1f}]"
        )
        lines.append(
            f"{self.queries} queries ({self.skipped} more have no image of their label in the gallery), "
            f"gallery of {self.gallery_size} images"
        )
        lines.append(
            escaped(
                f"query model {self.query_name}, {_cost(self.query_mmacs)}; "
                f"gallery model {self.gallery_name}, {_cost(self.gallery_mmacs)}"
            )
        )
        lines.extend(overlap_lines(self.own, self.copies))
        if not self.declared:
            lines.append("the query model does not declare this gallery's space: a search would be refused")
        return "\n".join(lines)


def overlap_lines(own: int, copies: int) -> list[str]:
    """What a table says of queries that stand in the gallery themselves: nothing where none does."""
    lines = []
    if own:
        lines.append(f"{own} queries are the same image as one of the gallery, which was left out of their ranking")
    if copies:
        lines.append(f"warning: the gallery holds further copies of {copies} queries; scores with them are too good")
    return lines


def _cost(mmacs: float | None) -> str:
    return "cost not known" if mmacs is None else f"{mmacs:.1f} MMACs"


def percent(value: float, interval: tuple[float, float]) -> str:
    """A fraction and its interval in percent, such as ``83.6 [81.9, 85.2]``."""
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
