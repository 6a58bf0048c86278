"""Exact nearest neighbours in numpy, at close to the speed of the matrix product alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import VectorError
from compat_sdk.index.vectors import check_k, check_vectors

# A score block of 1024 queries x 512 rows is 2 MiB: it stays in the cache between the product that writes
# it and the pass that reads it, and both sides of the product are large enough to run at the peak rate.
_QUERIES_PER_BLOCK = 1024
_SCORES_PER_BLOCK = 512 * 1024
_MIN_ROWS_PER_BLOCK = 512
_MAX_ROWS_PER_BLOCK = 64 * 1024
_PAIRS_AT_ONCE = 64 * 1024
_SPARE = 8
_GROUP = 32
_MAXIMA_PER_LINE = 2048
# BLAS libraries have a fast path for small products and a slow start for narrow ones.
_NARROW_QUERIES = 32
_NARROW_PRODUCT = 1_000_000


class ExactIndex:
    """Every row is scored; numpy only.

    The product runs in blocks that stay in the cache. A block is then reduced to one maximum per query and
    32 rows, and only the few groups that beat the query's current k-th best are looked at again, so that
    selection costs a few per cent of the product whatever the size of the gallery.
    """

    name = "exact"

    def __init__(self, vectors: NDArray[np.float32] | Sequence[NDArray[np.float32]]) -> None:
        """Check the rows and keep them, without a copy.

        Args:
            vectors: ``[n, dim]`` float32, unit norm; or several such arrays that stand one after the other
                (memory-mapped segments of a gallery).

        Raises:
            VectorError: Wrong type, shape or dimension, or rows that are not finite and of unit length; row
                numbers count over all arrays.
        """
        parts = [vectors] if isinstance(vectors, np.ndarray) else list(vectors)
        if not parts:
            raise VectorError("found no array, expected at least one; an empty index is numpy.empty((0, dim))")
        self._parts: list[NDArray[np.float32]] = []
        self._starts = [0]
        dim: int | None = None
        for part in parts:
            try:
                checked = check_vectors(part, dim)
            except VectorError as error:
                rows = [row + self._starts[-1] for row in error.rows]
                raise VectorError(f"vectors from row {self._starts[-1]} on: {error}", rows) from None
            dim = checked.shape[1]
            self._parts.append(checked)
            self._starts.append(self._starts[-1] + len(checked))
        self.dim = self._parts[0].shape[1]

    def __len__(self) -> int:
        return self._starts[-1]

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best rows, see `Index.search`."""
        queries = check_vectors(queries, self.dim)
        k = min(check_k(k), len(self))
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        if k == 0:
            return rows, scores
        for start in range(0, len(queries), _QUERIES_PER_BLOCK):
            part = slice(start, start + _QUERIES_PER_BLOCK)
            rows[part], scores[part], crowded = self._scan(queries[part], k, _SPARE)
            if len(crowded):
                again = start + crowded
                rows[again], scores[again], _ = self._scan(queries[again], k, 0)
        np.clip(scores, -1, 1, out=scores)  # a sum of rounded products may pass 1
        return rows, scores

    def _scan(
        self, queries: NDArray[np.float32], k: int, spare: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Return rows, scores, and the queries for which ``spare`` rows were too few to tell ties apart."""
        best = _Best(queries, k, spare)
        for first_row, block in self._blocks(len(queries)):
            best.offer(block, first_row)
        best.merge()
        if not spare:
            return best.rows, best.scores, np.empty(0, np.int64)
        crowded = np.flatnonzero(best.scores[:, -1] >= best.floor)
        rows = np.where(best.rows < 0, len(self), best.rows)
        rows.sort(axis=1)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for start, end, part in zip(self._starts, self._starts[1:], self._parts, strict=False):
            query, place = np.nonzero((rows >= start) & (rows < end))
            for first in range(0, len(query), _PAIRS_AT_ONCE):
                who, where = query[first : first + _PAIRS_AT_ONCE], place[first : first + _PAIRS_AT_ONCE]
                scores[who, where] = _pair_scores(part[rows[who, where] - start], queries[who])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1), crowded

    def _blocks(self, queries: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        size = min(max(_SCORES_PER_BLOCK // queries, _MIN_ROWS_PER_BLOCK), _MAX_ROWS_PER_BLOCK)
        span = _GROUP * max(1, _MAXIMA_PER_LINE // queries)
        size = max(1, size // span) * span
        for first_row, part in zip(self._starts, self._parts, strict=False):
            for start in range(0, len(part), size):
                yield first_row + start, part[start : start + size]


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
        # Twice the rounding error of a product of unit rows: what two scores of one pair may differ by.
        self._margin = np.float32(queries.shape[1] * 2.0**-22)
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
        hits = np.flatnonzero(np.max(grouped, axis=1, out=maxima) > self.floor)
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
            scores = _pair_scores(block[where], self._queries[who])
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


def _pair_scores(rows: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = np.einsum("nd,nd->n", rows, queries)
    return scores


def _product(block: NDArray[np.float32], columns: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write ``block @ columns``; a narrow product in steps, which is up to twice as fast."""
    dim, q = columns.shape
    step = max(_GROUP, _NARROW_PRODUCT // (q * dim)) if 1 < q <= _NARROW_QUERIES else len(block)
    for start in range(0, len(block), step):
        np.matmul(block[start : start + step], columns, out=out[start : start + step])
