"""Whether an upgrade finds more than what it replaces: M(new,h) beside M(old,old), on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_sdk.index import ExactIndex
from compat_sdk.metrics import paired_difference, score_queries
from compat_sdk.metrics.scores import bootstrap_mean
from compat_sdk.spread import spread

Verdict = Literal["worse", "equal", "better"]
VERDICTS: tuple[Verdict, ...] = ("worse", "equal", "better")
MOST_ROWS = 100_000
"""Gallery rows that are searched at most, spread evenly over a larger gallery."""
MOST_QUERIES = 1000
_NEIGHBOURS = 10

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """What searches find after an upgrade, beside what they find before it; every fraction in [0, 1].

    Attributes:
        judged_by: ``"labels"``: the first hit has the query's label. ``"neighbours"``, where labels tell nothing: which
            fraction of the 10 nearest images by the new model's own vectors is found among the 10 nearest.
        queried_by: ``"new model"``, or ``"transformed rows"`` where no vectors of the new model were given. Then
            nothing is known of the new model's queries, and only harm can be shown.
        queries: Images that asked, each without itself in the gallery.
        rows: Gallery rows that were searched.
        old_old: M(old,old), what is replaced.
        new_h: M(new,h), or M(h,h).
        difference: ``new_h - old_old`` of the same queries.
        verdict: ``"better"`` or ``"worse"`` where the difference's interval is above or below 0, else ``"equal"``.
    """

    judged_by: Literal["labels", "neighbours"]
    queried_by: Literal["new model", "transformed rows"]
    queries: int
    rows: int
    old_old: Interval
    new_h: Interval
    difference: Interval
    verdict: Verdict


def judge_by_labels(
    old: Vectors, transformed: Vectors, labels: Sequence[str], own: NDArray[np.int64], new: Vectors | None
) -> Quality | None:
    """Judge an upgrade by the labels of the gallery; None where no query has another row of its label.

    Args:
        old: Old vectors of the rows that are searched. [n, old_dim]
        transformed: The same rows transformed. [n, dim]
        labels: Of the rows; empty for none.
        own: Row of each query's own image. [q]
        new: The new model's vectors of the queries; None takes the transformed ones. [q, dim]
    """
    labelled = np.array([labels[row] != "" for row in own.tolist()], bool)
    asked = own[labelled]
    wanted = [labels[row] for row in asked.tolist()]
    queries = transformed[asked] if new is None else new[labelled]
    try:
        before = score_queries(old[asked], wanted, old, labels, exclude_self=asked).hits(1)
        after = score_queries(np.ascontiguousarray(queries), wanted, transformed, labels, exclude_self=asked).hits(1)
    except DataError:
        return None
    return _quality("labels", "transformed rows" if new is None else "new model", before, after, len(old))


def judge_by_neighbours(old: Vectors, transformed: Vectors, new: Vectors) -> Quality:
    """Judge an upgrade by the neighbours that the new model itself gives.

    Args:
        old: Old vectors of images. [n, old_dim], n at least 2
        transformed: The same images transformed. [n, dim]
        new: The same images by the new model. [n, dim]
    """
    own = spread(len(new), MOST_QUERIES)
    truth = neighbours(new, new[own], own)
    before = shared(truth, neighbours(old, old[own], own))
    after = shared(truth, neighbours(transformed, new[own], own))
    return _quality("neighbours", "new model", before, after, len(new))


def neighbours(rows: Vectors, queries: Vectors, own: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The 10 nearest rows of each query except its own image, or all others where there are fewer."""
    k = min(_NEIGHBOURS, len(rows) - 1)
    found, _ = ExactIndex(rows).search(np.ascontiguousarray(queries), k + 1)
    return [line[line != row][:k] for line, row in zip(found, own, strict=True)]


def shared(wanted: Sequence[NDArray[np.int64]], found: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """For each query which fraction of the rows wanted was found."""
    return np.array([len(np.intersect1d(one, other)) / len(one) for one, other in zip(wanted, found, strict=True)])


def _quality(
    judged_by: Literal["labels", "neighbours"],
    queried_by: Literal["new model", "transformed rows"],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    rows: int,
) -> Quality:
    difference = Interval(*paired_difference(after, before))
    verdict: Verdict = "better" if difference.low > 0 else "worse" if difference.high < 0 else "equal"
    old_old, new_h = Interval(*bootstrap_mean(before)), Interval(*bootstrap_mean(after))
    return Quality(judged_by, queried_by, len(before), rows, old_old, new_h, difference, verdict)
