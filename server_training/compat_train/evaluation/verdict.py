"""Whether an upgrade finds more than no upgrade, on vectors that nothing was learnt from.

Written query model, then gallery: M(old,old) is what is there today, M(new,h) what the new model finds in transformed
vectors, and M(new,new) what embedding everything again would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.documents import canonical_json, read_json
from compat_sdk.metrics import paired_difference

_VERDICT = "verdict.json"
"""Where a RUN of a transform keeps it."""

Word = Literal["better", "equal", "worse", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What an upgrade would change, at top-1.

    Attributes:
        word: ``better`` or ``worse`` where the interval of the difference leaves 0 out, ``equal`` where it does not,
            and ``unknown`` where no query has a right answer.
        by: ``labels``: a hit has the label of its query. ``neighbours``, without labels: it is the nearest row by the
            new model itself.
        queries: Rows that were asked for.
        rows: Rows that were searched; the query itself is left out.
        old_old: M(old,old), a fraction, as the next three.
        new_h: M(new,h).
        new_ridge: M(new,ridge): the same with ridge regression, the baseline that h must beat.
        new_new: M(new,new); 1 by ``neighbours``.
        difference: M(new,h) - M(old,old).
        low: Lower end of its paired 95 % bootstrap interval.
        high: Upper end.
        over_ridge: M(new,h) - M(new,ridge), and the ends of its interval.
        cosine: Mean cosine of transformed and new vectors.
        ridge_cosine: The same of ridge regression.
    """

    word: Word
    by: Literal["labels", "neighbours"]
    queries: int
    rows: int
    old_old: float
    new_h: float
    new_ridge: float
    new_new: float
    difference: float
    low: float
    high: float
    over_ridge: tuple[float, float, float]
    cosine: float
    ridge_cosine: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"over_ridge": list(self.over_ridge)}

    def lines(self) -> list[str]:
        """What a reader is told."""
        if self.word == "unknown":
            return ["verdict: unknown, since none of the held-out vectors has another one of its label"]
        low, high = (f"{100 * bound:+.1f}" for bound in (self.low, self.high))
        what = "right labels" if self.by == "labels" else "the new model's nearest rows"
        says = {
            "better": "the upgraded gallery finds more than the old one",
            "equal": "no difference from not upgrading beyond chance",
            "worse": "the upgraded gallery finds less than the old one: do not upgrade with it",
        }[self.word]
        named = {
            "M(old,old)": self.old_old,
            "M(new,h)": self.new_h,
            "M(new,ridge)": self.new_ridge,
            "M(new,new)": self.new_new,
        }
        over = self.over_ridge
        beyond = "more than" if over[1] > 0 else "less than" if over[2] < 0 else "as much as"
        return [
            f"{self.queries} held-out queries among {self.rows} rows, top-1 by {what}: "
            + ", ".join(f"{name} {100 * value:.1f}" for name, value in named.items()),
            f"h finds {beyond} ridge regression ({100 * over[0]:+.1f} [{100 * over[1]:+.1f}, {100 * over[2]:+.1f}] "
            f"points); mean cosine {self.cosine:.3f}, ridge {self.ridge_cosine:.3f}",
            f"verdict: {self.word} ({100 * self.difference:+.1f} [{low}, {high}] points): {says}",
        ]


def judge(
    old: NDArray[np.float32],
    new: NDArray[np.float32],
    transformed: NDArray[np.float32],
    ridge: NDArray[np.float32],
    labels: Sequence[str],
) -> Verdict:
    """Compare an upgrade with none, on rows that nothing was learnt from.

    Args:
        old: ``[n, dim]`` unit rows, as the others are, of the same things.
        new: ``[n, dim]``.
        transformed: ``[n, dim]``, what h makes of the old ones.
        ridge: ``[n, dim]``, what ridge regression makes of them.
        labels: Of each row, empty where there is none; rows without one are searched and not asked for.
    """
    names = np.array(labels, dtype=object).astype(str)
    by_labels = len(set(labels) - {""}) > 1
    asked = np.arange(len(old))
    if by_labels:
        _, group, sizes = np.unique(names, return_inverse=True, return_counts=True)
        asked = np.flatnonzero((sizes[group] > 1) & (names != ""))
    nearest = {
        "old_old": _nearest(old, old, asked),
        "new_h": _nearest(new, transformed, asked),
        "new_ridge": _nearest(new, ridge, asked),
        "new_new": _nearest(new, new, asked),
    }
    right = {
        pair: (names[found] == names[asked] if by_labels else found == nearest["new_new"]).astype(np.float64)
        for pair, found in nearest.items()
    }
    means = {pair: float(hits.mean()) if len(hits) else 0.0 for pair, hits in right.items()}
    none = (0.0, 0.0, 0.0)
    difference = paired_difference(right["new_h"], right["old_old"]) if len(asked) else none
    word: Word = "better" if difference[1] > 0 else "worse" if difference[2] < 0 else "equal"
    return Verdict(
        word=word if len(asked) else "unknown",
        by="labels" if by_labels else "neighbours",
        queries=len(asked),
        rows=len(old),
        **means,
        difference=difference[0],
        low=difference[1],
        high=difference[2],
        over_ridge=paired_difference(right["new_h"], right["new_ridge"]) if len(asked) else none,
        cosine=float(np.einsum("nd,nd->n", transformed, new).mean()),
        ridge_cosine=float(np.einsum("nd,nd->n", ridge, new).mean()),
    )


def write_verdict(run: Path, verdict: Verdict) -> None:
    """Keep it in the RUN that it is of."""
    write_atomic(run / _VERDICT, canonical_json(verdict.to_json()))


def read_verdict(run: Path) -> Verdict | None:
    """The verdict of a RUN; None where it has none.

    Raises:
        CorruptFileError: It is damaged.
    """
    if not (run / _VERDICT).is_file():
        return None
    found: Mapping[str, Any] = read_json(run / _VERDICT)
    try:
        over = found["over_ridge"]
        return Verdict(**{**found, "over_ridge": (float(over[0]), float(over[1]), float(over[2]))})
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise CorruptFileError(f"{run / _VERDICT} is no verdict; train again into another folder") from error


def _nearest(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], asked: NDArray[np.int64], at_once: int = 512
) -> NDArray[np.int64]:
    """The row of the gallery nearest to each of these queries, not the query's own."""
    found = np.empty(len(asked), np.int64)
    for first in range(0, len(asked), at_once):
        rows = asked[first : first + at_once]
        scores = queries[rows] @ gallery.T
        scores[np.arange(len(rows)), rows] = -2
        found[first : first + at_once] = scores.argmax(axis=1)
    return found
