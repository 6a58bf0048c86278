"""Exact ranks of every query's positives, counted in blocks and never sorted in full.

A query's cumulative match and average precision need, for each positive, only *how many* negatives score at least
as high. So the gallery is read twice: once for the scores of the positives, once to count the rows above them, and
only rows above a query's lowest positive are looked at one by one. Ties stand against the query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics.average_precision import average_precision
from compat_sdk.metrics.exact_scores import (
    OVERHEAD,
    Blocks,
    check_pair,
    choose_blocks,
    count_above,
    groups,
    scaled,
)


@dataclass(frozen=True)
class PerQuery:
    """Where each query found its positives.

    Attributes:
        first_rank: Rank of the best positive, from 1; negatives that tie with it rank before it. [kept]
        average_precision: Of the positives' ranks, by the definition that was asked for, in [0, 1]. [kept]
        rows: Positions of the scored queries in the input, ascending; the others have no positive. [kept]
        skipped: Queries left out because the gallery holds no image of their label.
        gallery_size: Rows in the gallery.
        also: Of the same ranks, by a second definition of average precision; None where none was asked for. [kept]
    """

    first_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    rows: NDArray[np.int64]
    skipped: int
    gallery_size: int
    also: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.first_rank)

    def hits(self, rank: int) -> NDArray[np.float64]:
        """1.0 for each query whose best positive stands at ``rank`` or before, else 0.0. [kept]."""
        return (self.first_rank <= rank).astype(np.float64)


def score_queries(
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    gallery: NDArray[np.float32],
    gallery_labels: Sequence[str],
    *,
    memory_mib: float = 256,
    exclude_self: NDArray[np.int64] | None = None,
    precision: Callable[[NDArray[np.int64]], float] = average_precision,
    also: Callable[[NDArray[np.int64]], float] | None = None,
) -> PerQuery:
    """Rank of the best positive and average precision of every query, exactly.

    A gallery row is a positive when its label equals the query's. The rank of the i-th positive is i and the negatives
    that score at least as high. The result does not depend on ``memory_mib``.

    Args:
        queries: Unit-norm vectors. [q, dim]
        query_labels: One label per query.
        gallery: Unit-norm vectors. [n, dim] A memory-mapped array is read block by block.
        gallery_labels: One label per gallery row.
        memory_mib: Bound on the memory used besides the four arguments, in MiB.
        exclude_self: Gallery row of each query's own image, then neither positive nor negative; -1 for none. [q]
        precision: Average precision of one query's ranks: `average_precision`, over the full ranking, or another of
            `compat_sdk.metrics.average_precision`.
        also: A second one of the same ranks, so that nothing is ranked twice.

    Returns:
        One entry per query that has a positive, in input order; the others are counted in ``skipped``.

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: No query has a positive, or labels and vectors differ in number.
        ConfigError: ``memory_mib`` is too small for one row, or ``exclude_self`` names no gallery row.
    """
    check_pair(queries, query_labels, gallery, gallery_labels)
    own = check_exclusions(exclude_self, len(queries), len(gallery))
    query_codes, gallery_codes = label_codes(query_labels, gallery_labels)
    sizes = np.bincount(gallery_codes, minlength=1)
    positives = np.where(query_codes < 0, 0, sizes[query_codes])
    if own is not None and len(gallery):
        positives -= (own >= 0) & (query_codes >= 0) & (gallery_codes[own] == query_codes)
    rows = np.flatnonzero(positives > 0)
    if not len(rows):
        raise DataError(
            f"none of the {len(queries)} queries has an image of its label among the {len(gallery)} gallery images"
            f"{'' if own is None or not (own >= 0).any() else ', apart from itself'}; "
            f"the query and gallery splits must share labels"
        )
    members = np.argsort(gallery_codes, kind="stable")
    ends = np.cumsum(sizes)
    # Queries of one label side by side, so that their positives are gathered once.
    by_label = rows[np.argsort(query_codes[rows], kind="stable")]
    blocks = choose_blocks(memory_mib, queries, gallery, int(sizes[query_codes[by_label]].max()))

    first_rank = np.zeros(len(queries), np.int64)
    averages = np.zeros(len(queries), np.float64)
    second = None if also is None else np.zeros(len(queries), np.float64)
    for group in groups(by_label, sizes[query_codes[by_label]] + OVERHEAD, blocks.positives):
        table = _positive_scores(queries, gallery, group, query_codes, members, ends, sizes, own, blocks)
        counts = count_above(queries, gallery, group, table, blocks)
        for row, scores, above in zip(group.tolist(), table, counts, strict=True):
            own_row = -1 if own is None else int(own[row])
            own_score = -np.inf if own_row < 0 else scaled(queries[row]) @ scaled(gallery[own_row])
            not_negative = len(scores) - np.searchsorted(scores, scores) + (scores <= own_score)
            negatives = (above - not_negative)[::-1]
            ranks = np.arange(1, len(scores) + 1) + negatives
            first_rank[row] = ranks[0]
            averages[row] = precision(ranks)
            if also is not None and second is not None:
                second[row] = also(ranks)
    left_out = len(queries) - len(rows)
    return PerQuery(
        first_rank[rows], averages[rows], rows, left_out, len(gallery), None if second is None else second[rows]
    )


def label_codes(
    query_labels: Sequence[str], gallery_labels: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Labels as numbers, of queries and of the gallery; -1 for a query whose label the gallery lacks."""
    codes: dict[str, int] = {}
    for label in gallery_labels:
        codes.setdefault(label, len(codes))
    of_gallery = np.fromiter((codes[label] for label in gallery_labels), np.int32, len(gallery_labels))
    return np.fromiter((codes.get(label, -1) for label in query_labels), np.int32, len(query_labels)), of_gallery


def _positive_scores(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    group: NDArray[np.int64],
    query_codes: NDArray[np.int32],
    members: NDArray[np.int64],
    ends: NDArray[np.int64],
    sizes: NDArray[np.int64],
    own: NDArray[np.int64] | None,
    blocks: Blocks,
) -> list[NDArray[np.float64]]:
    """Scores of each query's positives, ascending, its own image left out."""
    table: list[NDArray[np.float64]] = []
    bounds = np.flatnonzero(np.diff(query_codes[group])) + 1
    for run in np.split(group, bounds):
        code = int(query_codes[run[0]])
        same = members[ends[code] - sizes[code] : ends[code]]
        scores = np.empty((len(run), len(same)))
        for at in range(0, len(same), blocks.gallery):
            block = scaled(gallery[same[at : at + blocks.gallery]])
            for top in range(0, len(run), blocks.queries):
                part = scaled(queries[run[top : top + blocks.queries]])
                scores[top : top + len(part), at : at + len(block)] = part @ block.T
        lost = np.zeros(len(run), np.int64)
        if own is not None:
            which = np.searchsorted(same, own[run])
            lost = (which < len(same)) & (same[np.minimum(which, len(same) - 1)] == own[run])
            scores[np.flatnonzero(lost), which[lost]] = -np.inf
        scores.sort(axis=1)
        table.extend(line[skip:] for line, skip in zip(scores, lost.astype(int).tolist(), strict=True))
    return table


def check_exclusions(own: NDArray[np.int64] | None, queries: int, gallery: int) -> NDArray[np.int64] | None:
    """Each query's own gallery row as int64, -1 for none; None where no query has one.

    Raises:
        ConfigError: It is not one row of the gallery per query.
    """
    if own is None:
        return None
    own = np.asarray(own)
    if own.shape != (queries,) or own.dtype.kind not in "iu":
        raise ConfigError(f"exclude_self must be {queries} whole numbers, got {own.dtype} of shape {own.shape}")
    if len(own) and (int(own.max()) >= gallery or int(own.min()) < -1):
        raise ConfigError(f"exclude_self must name gallery rows 0 to {gallery - 1}, or -1 for none")
    return own.astype(np.int64, copy=False)
