"""The numpy scan: every row is scored in blocks, and little more than the best rows is looked at twice."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.index.parts import Parts, pair_scores

# A score block of 1024 queries x 512 rows is 2 MiB: it stays in the cache between the product that writes
# it and the pass that reads it, and both sides of the product are large enough to run at the peak rate.
_SCORES_PER_BLOCK = 512 * 1024
_MIN_ROWS_PER_BLOCK = 512
_MAX_ROWS_PER_BLOCK = 64 * 1024
_PAIRS_AT_ONCE = 64 * 1024
_GROUP = 32
_MAXIMA_PER_LINE = 2048
# BLAS libraries have a fast path for small products and a slow start for narrow ones.
_NARROW_QUERIES = 32
_NARROW_PRODUCT = 1_000_000


@dataclass(frozen=True)
class Candidates:
    """The best rows of a first pass, which may have rounded a score as it liked.

    Attributes:
        rows: int64 ``[q, m]``, -1 where there are fewer.
        scores: ``[q, m]`` of these, best first.
        floor: ``[q]``: no row of a lower score can be among the k best. Where the last of the candidates is not below
            it, there may be more such rows than candidates.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    floor: NDArray[np.float32]


def scan(
    parts: Parts, queries: NDArray[np.float32], k: int, spare: int, chosen: NDArray[np.int64] | None, threads: int
) -> Candidates:
    """Return the ``k + spare`` best rows by the product alone; without ``spare``, the ``k`` best by exact scores.

    Args:
        parts: The rows.
        queries: ``[q, dim]`` unit rows.
        k: At least 1, at most as many as there are rows.
        spare: Rows beyond ``k``.
        chosen: Row numbers, rising: these rows alone.
        threads: Threads that share the rows; the answer does not depend on it.
    """
    places = len(parts) if chosen is None else len(chosen)
    size = min(max(_SCORES_PER_BLOCK // len(queries), _MIN_ROWS_PER_BLOCK), _MAX_ROWS_PER_BLOCK)
    span = _GROUP * max(1, _MAXIMA_PER_LINE // len(queries))
    size = max(1, size // span) * span

    def best_between(low: int, high: int) -> Candidates:
        best = _Best(queries, k, spare)
        for first, block in parts.blocks(size, low, high, chosen):
            best.offer(block, first)
        best.merge()
        return Candidates(best.rows, best.scores, best.floor)

    shares = max(1, min(threads, places // size))
    if shares == 1:
        found = best_between(0, places)
    else:
        edges = [place * places // shares for place in range(shares + 1)]
        with ThreadPoolExecutor(shares) as pool:
            found = merged(list(pool.map(best_between, edges, edges[1:])), k, margin(parts.dim) if spare else 0.0)
    rows = found.rows if chosen is None else np.where(found.rows < 0, -1, chosen[found.rows])
    return Candidates(rows, found.scores, found.floor)


def merged(shares: Sequence[Candidates], k: int, uncertain: float) -> Candidates:
    """Return the best candidates of those of several parts of the rows, as many as each part has.

    Of equal scores the lower row stands first.

    Args:
        shares: Of one or more parts, ``[q, m]`` each with ``m`` at least ``k``.
        k: Hits wanted.
        uncertain: By how much a score may differ from the exact one; 0 where they are exact.
    """
    rows = np.concatenate([share.rows for share in shares], axis=1)
    scores = np.concatenate([share.scores for share in shares], axis=1)
    best = np.lexsort((rows, -scores), axis=1)[:, : shares[0].rows.shape[1]]
    rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
    return Candidates(rows, scores, scores[:, k - 1] - np.float32(2 * uncertain))


def margin(dim: int) -> float:
    """Twice the rounding error of a product of unit rows: what two scores of one pair may differ by."""
    return float(dim * 2.0**-22)


class _Best:
    """The running best rows of a block of queries.

    A matrix product may round the same pair differently at different places in a block. Scored one by one,
    a pair has one score, equal rows tie, and ties go to the lower row, whatever the blocks were. With
    ``spare``, that many rows more than ``k`` are kept, scored by the product alone, and the caller scores
    them again at the end; that is exact unless more rows than that crowd around the k-th best. Without, every
    candidate is scored again as it comes: exact always, and slower.
    """

    def __init__(self, queries: NDArray[np.float32], k: int, spare: int) -> None:
        self.rows = np.full((len(queries), k + spare), -1, np.int64)
        self.scores = np.full((len(queries), k + spare), -np.inf, np.float32)
        self.floor = np.full(len(queries), -np.inf, np.float32)  # no row below it can be among the k best
        self._limit = self.floor  # the k-th best score so far; blocks come with rising row numbers
        self._k, self._careful = k, spare == 0
        self._queries = queries
        self._columns = np.ascontiguousarray(queries.T)
        self._margin = np.float32(margin(queries.shape[1]))
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        self._pending_count = 0
        self._buffer = self._maxima = np.empty(0, np.float32)

    def offer(self, block: NDArray[np.float32], first_row: int) -> None:
        """Score ``block``, rows ``first_row`` and on, and keep what beats the k-th best."""
        n, q = len(block), len(self._queries)
        # Rows are grouped by 32 with a stride, so that the maximum runs over long contiguous lines.
        stride = max(1, min(_MAXIMA_PER_LINE // q, -(-n // _GROUP)))
        spans = -(-n // (_GROUP * stride))
        size = spans * _GROUP * stride * q
        if self._buffer.size < size:
            self._buffer, self._maxima = np.empty(size, np.float32), np.empty(size // _GROUP, np.float32)
        scores = self._buffer[:size].reshape(-1, q)
        _product(block, self._columns, scores[:n])
        scores[n:] = -np.inf
        grouped = scores.reshape(spans, _GROUP, stride, q)
        maxima = self._maxima[: size // _GROUP].reshape(spans, stride, q)
        np.max(grouped, axis=1, out=maxima)
        if self.floor is self._limit:
            self._raise_floor(maxima.reshape(-1, q))
        hits = np.flatnonzero(maxima > self.floor)
        if len(hits) * _GROUP * 2 > size:
            self._add(*self._dense(scores[:n]), block, first_row)
        elif len(hits):
            line, query = np.divmod(hits, q)
            span, offset = np.divmod(line, stride)
            candidates = grouped[span, :, offset, query]
            hit, place = np.nonzero(candidates > self.floor[query][:, None])
            where = (span[hit] * _GROUP + place) * stride + offset[hit]
            self._add(query[hit], where, candidates[hit, place], block, first_row)
        if self._pending_count * 2 > self.rows.size:
            self.merge()

    def _raise_floor(self, maxima: NDArray[np.float32]) -> None:
        """Before anything is known: the maxima are scores of as many rows, so that the k-th of them is a floor."""
        if len(maxima) >= self._k:
            kth = np.partition(maxima, len(maxima) - self._k, axis=0)[len(maxima) - self._k]
            self.floor = kth - 2 * self._margin

    def _dense(self, scores: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Most of a block beats the current best (a first block, rows in rising order): select in it first."""
        by_query = np.ascontiguousarray(scores.T)
        k, n = self._k, by_query.shape[1]
        wanted = by_query > self.floor[:, None]
        if n > k:
            best = np.partition(by_query, n - k, axis=1)[:, n - k : n - k + 1]
            wanted &= by_query >= best - 2 * self._margin
        query, place = np.nonzero(wanted)
        return query, place, by_query[query, place]

    def _add(
        self,
        query: NDArray[np.int64],
        place: NDArray[np.int64],
        scores: NDArray[np.float32],
        block: NDArray[np.float32],
        first_row: int,
    ) -> None:
        if not self._careful:
            self._pending.append((query, first_row + place, scores))
            self._pending_count += len(query)
            return
        for start in range(0, len(query), _PAIRS_AT_ONCE):
            who, where = query[start : start + _PAIRS_AT_ONCE], place[start : start + _PAIRS_AT_ONCE]
            scores = pair_scores(block[where], self._queries[who])
            better = scores > self._limit[who]
            self._pending.append((who[better], first_row + where[better], scores[better]))
            self._pending_count += int(np.count_nonzero(better))

    def merge(self) -> None:
        """Fold the pending candidates in; of equal scores the lower row stays."""
        if not self._pending_count:
            return
        query, rows, scores = (np.concatenate(column) for column in zip(*self._pending, strict=True))
        self._pending, self._pending_count = [], 0
        order = np.lexsort((rows, query))
        query, rows, scores = query[order], rows[order], scores[order]
        counts = np.bincount(query, minlength=len(self.rows))
        touched = np.flatnonzero(counts)
        line = np.cumsum(counts > 0) - 1
        place = np.arange(len(query)) - (np.cumsum(counts) - counts)[query]
        kept = self.rows.shape[1]
        all_scores = np.full((len(touched), kept + int(counts.max())), -np.inf, np.float32)
        all_rows = np.full(all_scores.shape, -1, np.int64)
        all_scores[:, :kept], all_rows[:, :kept] = self.scores[touched], self.rows[touched]
        all_scores[line[query], kept + place] = scores
        all_rows[line[query], kept + place] = rows
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, :kept]
        self.scores[touched] = np.take_along_axis(all_scores, best, axis=1)
        self.rows[touched] = np.take_along_axis(all_rows, best, axis=1)
        self._limit = np.ascontiguousarray(self.scores[:, self._k - 1])
        self.floor = self._limit - (1 if self._careful else 2) * self._margin


def _product(block: NDArray[np.float32], columns: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write ``block @ columns``.

    Of one query each row is multiplied by itself: OpenBLAS's product of a matrix and a vector reads the memory at
    two thirds of that rate. A narrow product goes in steps, which is up to twice as fast.
    """
    dim, q = columns.shape
    if q == 1:
        _by_rows(block, columns[:, 0], out[:, 0])
        return
    step = max(_GROUP, _NARROW_PRODUCT // (q * dim)) if q <= _NARROW_QUERIES else len(block)
    for start in range(0, len(block), step):
        np.matmul(block[start : start + step], columns, out=out[start : start + step])


def _by_rows(block: NDArray[np.float32], query: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    if hasattr(np, "vecdot"):  # numpy 2
        np.vecdot(block, query, out=out)
    else:
        np.einsum("nd,d->n", block, query, out=out)
