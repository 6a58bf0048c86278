"""Ranking where each query lists its positives, and rows that count neither way.

Landmark benchmarks name for each query what shows the same place, and what is junk: too small, too dark or hardly
seen, and neither right nor wrong to find. What is ignored leaves the ranking before ranks are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compat_sdk.errors import DataError
from compat_sdk.metrics.average_precision import average_precision
from compat_sdk.metrics.exact_scores import OVERHEAD, check_vectors, choose_blocks, count_above, groups, scaled
from compat_sdk.metrics.ranking import PerQuery


def score_listed(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    positives: Sequence[ArrayLike],
    ignored: Sequence[ArrayLike] | None = None,
    *,
    memory_mib: float = 256,
    precision: Callable[[NDArray[np.int64]], float] = average_precision,
    also: Callable[[NDArray[np.int64]], float] | None = None,
) -> PerQuery:
    """Rank of the best positive and average precision of every query, exactly, from lists of gallery rows.

    ROxford and RParis, Medium: positives are easy and hard, ``ignored`` is junk, ``precision`` is
    `trapezoid_average_precision`. GLDv2: ``precision`` is ``partial(average_precision_at, cut_off=100)``.

    Args:
        queries: Unit-norm vectors. [q, dim]
        gallery: Unit-norm vectors. [n, dim] A memory-mapped array is read block by block.
        positives: For each query the gallery rows that are right. An empty list leaves the query out.
        ignored: For each query the gallery rows that count neither way; None for none.
        memory_mib: Bound on the memory used besides the arguments, in MiB.
        precision: Average precision of one query's ranks.
        also: A second definition of it for the same ranks, so that nothing is ranked twice.

    Returns:
        One entry per query that has a positive, in input order; the others are counted in ``skipped``.

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: No query has a positive, lists and queries differ in number, or a list names a row that the gallery
            lacks, a row twice, or one as both right and ignored.
        ConfigError: ``memory_mib`` is too small for one row.
    """
    check_vectors(queries, gallery)
    right = _row_lists(positives, len(queries), len(gallery), "positives")
    beside = [np.zeros(0, np.int64)] * len(queries)
    if ignored is not None:
        beside = _row_lists(ignored, len(queries), len(gallery), "ignored")
        for query, (one, other) in enumerate(zip(right, beside, strict=True)):
            both = np.intersect1d(one, other)
            if len(both):
                raise DataError(f"row {both[0]} is both positive and ignored for query {query}; list it once")
    widths = np.fromiter((len(one) + len(other) for one, other in zip(right, beside, strict=True)), np.int64)
    rows = np.flatnonzero([len(one) > 0 for one in right])
    if not len(rows):
        raise DataError(f"none of the {len(queries)} queries lists a positive; there is nothing to measure")
    blocks = choose_blocks(memory_mib, queries, gallery, int(widths[rows].max()))
    first_rank, averages = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float64)
    second = None if also is None else np.zeros(len(queries), np.float64)
    for group in groups(rows, widths[rows] + OVERHEAD, blocks.positives):
        own = [scaled(queries[row]) for row in group]
        table = [_sorted_scores(one, gallery, right[row], blocks.gallery) for one, row in zip(own, group, strict=True)]
        junk = [_sorted_scores(one, gallery, beside[row], blocks.gallery) for one, row in zip(own, group, strict=True)]
        counts = count_above(queries, gallery, group, table, blocks)
        for row, scores, others, above in zip(group.tolist(), table, junk, counts, strict=True):
            not_negative = _reaching(scores, scores) + _reaching(others, scores)
            ranks = np.arange(1, len(scores) + 1) + (above - not_negative)[::-1]
            first_rank[row] = ranks[0]
            averages[row] = precision(ranks)
            if also is not None and second is not None:
                second[row] = also(ranks)
    left_out = len(queries) - len(rows)
    return PerQuery(
        first_rank[rows], averages[rows], rows, left_out, len(gallery), None if second is None else second[rows]
    )


def _row_lists(lists: Sequence[ArrayLike], queries: int, gallery: int, what: str) -> list[NDArray[np.int64]]:
    if len(lists) != queries:
        raise DataError(f"there are {queries} queries and {len(lists)} lists of {what}; give one list per query")
    found = []
    for query, rows in enumerate(lists):
        one = np.asarray(rows)
        if one.ndim != 1 or (len(one) and one.dtype.kind not in "iu"):
            raise DataError(
                f"{what} of query {query} are {one.dtype} of shape {one.shape}; expected row numbers of the gallery"
            )
        one = one.astype(np.int64)
        if len(one) and (int(one.min()) < 0 or int(one.max()) >= gallery):
            raise DataError(f"{what} of query {query} name a row outside the gallery's 0 to {gallery - 1}")
        if len(np.unique(one)) != len(one):
            raise DataError(f"{what} of query {query} name a row twice; list each row once")
        found.append(one)
    return found


def _sorted_scores(
    query: NDArray[np.float64], gallery: NDArray[np.float32], rows: NDArray[np.int64], block: int
) -> NDArray[np.float64]:
    """Scores of these gallery rows, ascending."""
    scores = np.empty(len(rows))
    for at in range(0, len(rows), block):
        scores[at : at + block] = scaled(gallery[rows[at : at + block]]) @ query
    scores.sort()
    return scores


def _reaching(scores: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each level, how many of the ascending ``scores`` are at least that."""
    return len(scores) - np.searchsorted(scores, levels)
