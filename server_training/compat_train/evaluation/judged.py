"""One system's ranking, and what the accuracy that was asked for says of each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.metrics import Metric, PerQuery, RetrievalScores, score_queries, summarise


@dataclass(frozen=True, eq=False)
class Judged:
    """A system's answers to all queries.

    Attributes:
        ranked: Where each query found its positives.
        metric: The accuracy that systems are compared by.
        values: Its value of each scored query, in [0, 1]. [scored]
    """

    ranked: PerQuery
    metric: Metric
    values: NDArray[np.float64]

    @property
    def scores(self) -> RetrievalScores:
        """The accuracies with their intervals."""
        return summarise(self.ranked, metric=self.metric, values=self.values)


def judge(
    metric: Metric,
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    gallery: NDArray[np.float32],
    gallery_labels: Sequence[str],
    *,
    memory_mib: float,
    exclude_self: NDArray[np.int64],
) -> Judged:
    """The answers of one system; arguments as of `compat_sdk.metrics.score_queries`, and its errors."""
    ranked = score_queries(
        queries, query_labels, gallery, gallery_labels, memory_mib=memory_mib, exclude_self=exclude_self
    )
    values = metric.of(ranked)
    if values is None:
        values = metric.values(
            queries, query_labels, gallery, gallery_labels, memory_mib=memory_mib, exclude_self=exclude_self
        )
    return Judged(ranked, metric, values)
