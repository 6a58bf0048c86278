"""Exact ranks of every query's positives, counted in blocks and never sorted in full.

A query's cumulative match and average precision need, for each positive, only *how many* negatives score at least
as high. So the gallery is read twice: once for the scores of the positives, once to count the rows above them, and
only rows above a query's lowest positive are looked at one by one.

Scores do not depend on the block shape or the BLAS. Components are rounded to whole multiples of ``2**-26`` (less
than float32 resolves around 0.1, a typical component), which makes every partial sum of a dot product an integer
below ``2**53``: float64 holds it exactly, in whatever order it is summed. Equal vectors tie, always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError, VectorError
from compat_sdk.unit import check_rows

_SCALE = np.float32(2.0**26)
_MIB = 2**20
_OVERHEAD = 8  # entries that the Python objects of one query weigh as much as


@dataclass(frozen=True)
class PerQuery:
    """Where each query found its positives.

    Attributes:
        first_rank: Rank of the best positive, from 1; negatives that tie with it rank before it. [kept]
        average_precision: Mean over the positives of the precision at each one's rank, in (0, 1]. [kept]
        rows: Positions of the scored queries in the input, ascending; the others have no positive. [kept]
        skipped: Queries left out because the gallery holds no image of their label.
        gallery_size: Rows in the gallery.
    """

    first_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    rows: NDArray[np.int64]
    skipped: int
    gallery_size: int

    def __len__(self) -> int:
        return len(self.first_rank)

    def hits(self, rank: int) -> NDArray[np.float64]:
        """1.0 for each query whose best positive stands at ``rank`` or before, else 0.0. [kept]."""
        return (self.first_rank <= rank).astype(np.float64)


@dataclass(frozen=True)
class _Blocks:
    """Rows per block, chosen so that all scratch memory stays within the budget."""

    queries: int
    gallery: int
    positives: int  # entries of the table of positive scores


def score_queries(
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    gallery: NDArray[np.float32],
    gallery_labels: Sequence[str],
    *,
    memory_mib: float = 256,
    exclude_self: NDArray[np.int64] | None = None,
) -> PerQuery:
    """Rank of the best positive and average precision of every query, exactly.

    A gallery row is a positive when its label equals the query's. With positives in descending order,
    ``AP = 1/P * sum_i i / (i + negatives scoring at least s_i)``: the full ranking, no cut-off, ties against the query.
    The result does not depend on ``memory_mib``.

    Args:
        queries: Unit-norm vectors. [q, dim]
        query_labels: One label per query.
        gallery: Unit-norm vectors. [n, dim] A memory-mapped array is read block by block.
        gallery_labels: One label per gallery row.
        memory_mib: Bound on the memory used besides the four arguments, in MiB.
        exclude_self: Gallery row of each query's own image, then neither positive nor negative; -1 for none. [q]

    Returns:
        One entry per query that has a positive, in input order; the others are counted in ``skipped``.

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: No query has a positive, or labels and vectors differ in number.
        ConfigError: ``memory_mib`` is too small for one row, or ``exclude_self`` names no gallery row.
    """
    _check_vectors(queries, query_labels, "query")
    _check_vectors(gallery, gallery_labels, "gallery")
    if len(gallery) and len(queries) and queries.shape[1] != gallery.shape[1]:
        raise VectorError(
            f"queries have {queries.shape[1]} dimensions, the gallery {gallery.shape[1]}; they must agree"
        )
    own = _check_exclusions(exclude_self, len(queries), len(gallery))

    codes: dict[str, int] = {}
    for label in gallery_labels:
        codes.setdefault(label, len(codes))
    gallery_codes = np.fromiter((codes[label] for label in gallery_labels), np.int32, len(gallery))
    query_codes = np.fromiter((codes.get(label, -1) for label in query_labels), np.int32, len(queries))
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
    blocks = _choose_blocks(memory_mib, queries, gallery, int(sizes[query_codes[by_label]].max()))

    first_rank = np.zeros(len(queries), np.int64)
    precision = np.zeros(len(queries), np.float64)
    for group in _groups(by_label, sizes[query_codes[by_label]] + _OVERHEAD, blocks.positives):
        table = _positive_scores(queries, gallery, group, query_codes, members, ends, sizes, own, blocks)
        counts = _count_above(queries, gallery, group, table, blocks)
        for row, scores, above in zip(group.tolist(), table, counts, strict=True):
            own_row = -1 if own is None else int(own[row])
            own_score = -np.inf if own_row < 0 else _scaled(queries[row]) @ _scaled(gallery[own_row])
            not_negative = len(scores) - np.searchsorted(scores, scores) + (scores <= own_score)
            negatives = (above - not_negative)[::-1]
            order = np.arange(1, len(scores) + 1)
            first_rank[row] = 1 + negatives[0]
            precision[row] = np.mean(order / (order + negatives))
    return PerQuery(first_rank[rows], precision[rows], rows, len(queries) - len(rows), len(gallery))


def _scaled(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Components as whole multiples of 2**-26, so that dot products are exact integers."""
    whole = vectors * _SCALE
    exact: NDArray[np.float64] = np.rint(whole, out=whole).astype(np.float64)
    return exact


def _groups(rows: NDArray[np.int64], widths: NDArray[np.int64], limit: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive rows whose tables of positive scores together hold at most ``limit`` entries."""
    ends = np.cumsum(widths)
    start = 0
    while start < len(rows):
        taken = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, taken + limit, side="right")))
        yield rows[start:stop]
        start = stop


def _positive_scores(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    group: NDArray[np.int64],
    query_codes: NDArray[np.int32],
    members: NDArray[np.int64],
    ends: NDArray[np.int64],
    sizes: NDArray[np.int64],
    own: NDArray[np.int64] | None,
    blocks: _Blocks,
) -> list[NDArray[np.float64]]:
    """Scores of each query's positives, ascending, its own image left out."""
    table: list[NDArray[np.float64]] = []
    bounds = np.flatnonzero(np.diff(query_codes[group])) + 1
    for run in np.split(group, bounds):
        code = int(query_codes[run[0]])
        same = members[ends[code] - sizes[code] : ends[code]]
        scores = np.empty((len(run), len(same)))
        for at in range(0, len(same), blocks.gallery):
            block = _scaled(gallery[same[at : at + blocks.gallery]])
            for top in range(0, len(run), blocks.queries):
                part = _scaled(queries[run[top : top + blocks.queries]])
                scores[top : top + len(part), at : at + len(block)] = part @ block.T
        lost = np.zeros(len(run), np.int64)
        if own is not None:
            which = np.searchsorted(same, own[run])
            lost = (which < len(same)) & (same[np.minimum(which, len(same) - 1)] == own[run])
            scores[np.flatnonzero(lost), which[lost]] = -np.inf
        scores.sort(axis=1)
        table.extend(line[skip:] for line, skip in zip(scores, lost.astype(int).tolist(), strict=True))
    return table


def _count_above(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    group: NDArray[np.int64],
    table: list[NDArray[np.float64]],
    blocks: _Blocks,
) -> list[NDArray[np.int64]]:
    """For each positive score, how many gallery rows of any label score at least as high."""
    counts = [np.zeros(len(scores), np.int64) for scores in table]
    lowest = np.fromiter((scores[0] for scores in table), np.float64, len(table))
    scratch = np.empty(min(blocks.queries, len(group)) * min(blocks.gallery, len(gallery)))
    for at in range(0, len(gallery), blocks.gallery):
        block = _scaled(gallery[at : at + blocks.gallery])
        for top in range(0, len(group), blocks.queries):
            part = _scaled(queries[group[top : top + blocks.queries]])
            scores = scratch[: len(part) * len(block)].reshape(len(part), len(block))
            np.matmul(part, block.T, out=scores)
            reach = scores >= lowest[top : top + len(part), None]
            found = np.count_nonzero(reach, axis=1)
            candidates = scores[reach]
            end = 0
            for line, number in enumerate(found.tolist(), start=top):
                if number:
                    near = candidates[end : end + number]
                    counts[line] += _at_least(near, table[line])
                    end += number
    return counts


def _at_least(near: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each level, how many of ``near`` reach it. May reorder ``near``."""
    # Sorting pays only from some thirty levels on; for a few candidates either way is quick.
    if len(levels) < 32 and len(near) > 1000:
        return np.array([np.count_nonzero(near >= level) for level in levels], np.int64)
    near.sort()
    return len(near) - np.searchsorted(near, levels)


def _choose_blocks(
    memory_mib: float, queries: NDArray[np.float32], gallery: NDArray[np.float32], widest: int
) -> _Blocks:
    """Block sizes whose scratch arrays fit into the budget, label book-keeping included."""
    dim = int(queries.shape[1])
    # Per vector: two float32 copies and a float64 one. Per score: itself, its flag, its copy as a candidate.
    # Per positive: score, count and two passing copies.
    per_vector, per_score, per_positive = 16 * dim, 18, 48
    needed = (widest + _OVERHEAD) * per_positive
    available = memory_mib * _MIB - 40 * len(gallery) - 96 * len(queries)
    space = min(available / 2, available - needed)
    rows = 2 * min(256, len(queries))
    columns = 0
    while rows > 1 and columns < min(rows, len(gallery)):
        rows //= 2
        columns = int((space - per_vector * rows) // (per_vector + per_score * rows))
    columns = min(columns, 4096, len(gallery))
    if columns < 1:
        least = memory_mib + (needed - available + 2 * per_vector + per_score) / _MIB
        least = max(least, memory_mib + (2 * (2 * per_vector + per_score) - available) / _MIB)
        raise ConfigError(
            f"memory_mib is {memory_mib:g}; ranking {len(queries)} queries in {len(gallery)} gallery images of "
            f"{dim} dimensions takes at least {math.ceil(least * 1000) / 1000:g}"
        )
    entries = int((available - per_vector * (rows + columns) - per_score * rows * columns) // per_positive)
    return _Blocks(rows, columns, entries)


def _check_exclusions(own: NDArray[np.int64] | None, queries: int, gallery: int) -> NDArray[np.int64] | None:
    if own is None:
        return None
    own = np.asarray(own)
    if own.shape != (queries,) or own.dtype.kind not in "iu":
        raise ConfigError(f"exclude_self must be {queries} whole numbers, got {own.dtype} of shape {own.shape}")
    if len(own) and (int(own.max()) >= gallery or int(own.min()) < -1):
        raise ConfigError(f"exclude_self must name gallery rows 0 to {gallery - 1}, or -1 for none")
    return own.astype(np.int64, copy=False)


def _check_vectors(vectors: NDArray[np.float32], labels: Sequence[str], what: str) -> None:
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise VectorError(f"{what} vectors must be float32 [rows, dim], not {vectors.dtype} of shape {vectors.shape}")
    if len(labels) != len(vectors):
        raise DataError(f"there are {len(vectors)} {what} vectors and {len(labels)} labels; give one label per vector")
    check_rows(vectors, f"{what} vectors", "divide each vector by its norm")
