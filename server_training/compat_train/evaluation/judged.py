"""One system's ranking, and what the accuracy that was asked for says of each query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset
from compat_sdk.datasets.relevance import Relevance, Rows
from compat_sdk.errors import ConfigError
from compat_sdk.metrics import (
    Metric,
    PerQuery,
    RetrievalScores,
    average_precision,
    score_listed,
    score_queries,
    summarise,
    trapezoid_average_precision,
)


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
    gallery: NDArray[np.float32],
    dataset: Dataset,
    *,
    memory_mib: float,
    exclude_self: NDArray[np.int64],
) -> Judged:
    """The answers of one system: right are the gallery images of a query's label, or those that the set lists.

    Args:
        metric: The accuracy that systems are compared by.
        queries: Unit-norm vectors of the dataset's queries. [q, dim]
        gallery: Unit-norm vectors of its gallery. [n, dim]
        dataset: Labels of both splits, or the relevance that stands in for them.
        memory_mib: Bound on the memory used besides the arguments, in MiB.
        exclude_self: Gallery row of each query's own image, which counts neither way; -1 for none. [q]

    Raises:
        DataError: No query has a match.
        ConfigError: The metric needs labels, and the set lists matches.
    """
    if dataset.relevance is not None:
        return _listed(metric, queries, gallery, dataset.relevance, memory_mib, exclude_self)
    labels = dataset.split("query").labels, dataset.split("gallery").labels
    ranked = score_queries(
        queries,
        labels[0],
        gallery,
        labels[1],
        memory_mib=memory_mib,
        exclude_self=exclude_self,
        also=metric.cut_off,
    )
    values = metric.of(ranked)
    if values is None:
        values = metric.values(queries, labels[0], gallery, labels[1], memory_mib=memory_mib, exclude_self=exclude_self)
    return Judged(ranked, metric, values)


def _listed(
    metric: Metric,
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    relevance: Relevance,
    memory_mib: float,
    own: NDArray[np.int64],
) -> Judged:
    """By lists of matches and junk. A query's own image joins its junk."""
    if metric.kind == "tpir":
        raise ConfigError(f"{metric} needs identities, and this set lists matches; use top-K, map or map@K")
    positives: Rows = tuple(rows[rows != self] for rows, self in zip(relevance.positives, own, strict=True))
    ignored: Rows = tuple(
        np.union1d(rows, [self] if self >= 0 else []).astype(np.int64)
        for rows, self in zip(relevance.ignored, own, strict=True)
    )
    ranked = score_listed(
        queries,
        gallery,
        positives,
        ignored,
        memory_mib=memory_mib,
        precision=trapezoid_average_precision if relevance.trapezoid else average_precision,
        also=metric.cut_off,
    )
    values = metric.of(ranked)
    assert values is not None  # tpir alone has none
    return Judged(ranked, metric, values)
