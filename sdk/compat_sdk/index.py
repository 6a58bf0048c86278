"""Nearest neighbours by inner product: an exact scan in numpy, and an approximate graph from usearch.

Every index takes unit-norm float32 rows, answers with row numbers and cosine similarities, best first,
and never sees a vector that `check_vectors` has not passed: a handful of NaN or all-zero rows is enough
to ruin a graph index for all the others.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, GalleryError, MissingExtraError, VectorError

NORM_TOLERANCE = 1e-3
"""How far the length of a unit vector may be from 1."""

_ROWS_PER_CHECK = 65536
# A score block of 1024 queries x 512 rows is 2 MiB: it stays in the cache between the product that writes
# it and the pass that reads it, and both sides of the product are large enough to run at the peak rate.
_QUERIES_PER_BLOCK = 1024
_SCORES_PER_BLOCK = 512 * 1024
_MIN_ROWS_PER_BLOCK = 512
_MAX_ROWS_PER_BLOCK = 64 * 1024
_GROUP = 32
# BLAS libraries have a fast path for small products and a slow start for narrow ones.
_NARROW_QUERIES = 32
_NARROW_PRODUCT = 1_000_000


class Index(Protocol):
    """Anything that finds the rows most similar to a query."""

    name: str

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the ``k`` rows of highest cosine similarity for each query.

        Args:
            queries: ``[q, dim]``, float32, unit norm.
            k: Rows wanted per query, at least 1; more than the index holds gives all of them.

        Returns:
            Row numbers and cosine similarities, both ``[q, min(k, n)]``, best first; of equal scores the
            lower row comes first.

        Raises:
            VectorError: A query is not finite, not of unit norm, or of the wrong type or dimension.
            ConfigError: ``k`` is not a positive integer.
        """
        ...


def check_vectors(vectors: object, dim: int | None = None, *, unit: bool = True) -> NDArray[np.float32]:
    """Return the vectors as a C-contiguous float32 array, or say which rows no index may see.

    Args:
        vectors: ``[n, dim]`` float32; any memory layout.
        dim: Required dimension; any when None.
        unit: Also require every norm to be within 1e-3 of 1.

    Returns:
        ``[n, dim]``, the same memory when it was contiguous already.

    Raises:
        VectorError: Wrong type, shape or dimension, or rows that hold NaN or infinity, are all zero, or
            (with ``unit``) are not of unit norm. ``rows`` lists every offending row.
    """
    if not isinstance(vectors, np.ndarray):
        raise VectorError(f"found {type(vectors).__name__}, expected a float32 array of shape [n, dim]")
    if vectors.dtype != np.float32:
        raise VectorError(f"found dtype {vectors.dtype}, expected float32; convert with .astype(numpy.float32)")
    if vectors.ndim != 2:
        raise VectorError(
            f"found shape {list(vectors.shape)}, expected [n, dim]; a single vector is vectors[None, :]"
        )
    if vectors.shape[1] == 0 or (dim is not None and vectors.shape[1] != dim):
        expected = "at least 1" if dim is None else str(dim)
        raise VectorError(f"found vectors of dimension {vectors.shape[1]}, expected {expected}")
    vectors = np.ascontiguousarray(vectors)
    problems: dict[str, list[int]] = {}
    for start in range(0, len(vectors), _ROWS_PER_CHECK):
        _find_bad_rows(vectors[start : start + _ROWS_PER_CHECK], start, unit, problems)
    if problems:
        parts = [f"{len(rows)} {what} (rows {_some(rows)})" for what, rows in problems.items()]
        rows = sorted(row for found in problems.values() for row in found)
        raise VectorError(
            f"{len(rows)} of {len(vectors)} vectors cannot be indexed: {'; '.join(parts)}; expected finite "
            f"vectors{' of unit norm' if unit else ''}; drop these rows or embed their images again",
            rows,
        )
    return vectors


def check_k(k: object) -> int:
    """Return ``k`` as an int of at least 1.

    Raises:
        ConfigError: ``k`` is not an integer, or is below 1.
    """
    try:
        number = operator.index(k)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(k, bool) or number < 1:
        raise ConfigError(f"k is {k!r}, expected an integer of at least 1")
    return number


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
            VectorError: See `check_vectors`; row numbers count over all arrays.
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
            best = _Best(len(queries[part]), k)
            for first_row, block in self._blocks(len(queries[part])):
                best.offer(block, queries[part], first_row)
            best.merge()
            rows[part], scores[part] = self._rescored(best.rows, queries[part])
        return rows, scores

    def _blocks(self, queries: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        size = min(max(_SCORES_PER_BLOCK // queries, _MIN_ROWS_PER_BLOCK), _MAX_ROWS_PER_BLOCK)
        for first_row, part in zip(self._starts, self._parts, strict=False):
            for start in range(0, len(part), size):
                yield first_row + start, part[start : start + size]

    def _rescored(
        self, rows: NDArray[np.int64], queries: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Score the winners again one by one and sort them.

        A matrix product may round the same pair differently at different places in a block; scored alone,
        a pair has one score, equal rows tie, and ties can be ordered by row.
        """
        scores = np.empty(rows.shape, np.float32)
        rows.sort(axis=1)
        for start, end, part in zip(self._starts, self._starts[1:], self._parts, strict=False):
            query, place = np.nonzero((rows >= start) & (rows < end))
            for first in range(0, len(query), _ROWS_PER_CHECK):
                chunk = slice(first, first + _ROWS_PER_CHECK)
                found = part[rows[query[chunk], place[chunk]] - start]
                scores[query[chunk], place[chunk]] = np.einsum("nd,nd->n", found, queries[query[chunk]])
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


class _Best:
    """The running ``k`` best rows of a block of queries."""

    def __init__(self, queries: int, k: int) -> None:
        self.rows = np.full((queries, k), -1, np.int64)
        self.scores = np.full((queries, k), -np.inf, np.float32)
        self._limit = np.full(queries, -np.inf, np.float32)  # the k-th best score so far
        self._pending: list[tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]] = []
        self._pending_count = 0
        self._buffer = np.empty(0, np.float32)

    def offer(self, block: NDArray[np.float32], queries: NDArray[np.float32], first_row: int) -> None:
        """Score ``block`` (``[rows, dim]``) and keep what beats the k-th best."""
        n, q = len(block), len(queries)
        groups = -(-n // _GROUP)
        if self._buffer.size < groups * _GROUP * q:
            self._buffer = np.empty(groups * _GROUP * q, np.float32)
        scores = self._buffer[: groups * _GROUP * q].reshape(groups * _GROUP, q)
        _product(block, queries, scores[:n])
        scores[n:] = -np.inf
        grouped = scores.reshape(groups, _GROUP, q)
        hits = np.flatnonzero(grouped.max(axis=1) > self._limit)
        if len(hits) * 8 > groups * q:
            self._take_dense(scores[:n], first_row)
        elif len(hits):
            group, query = np.divmod(hits, q)
            candidates = grouped[group, :, query]
            hit, place = np.nonzero(candidates > self._limit[query][:, None])
            self._add(query[hit], first_row + group[hit] * _GROUP + place, candidates[hit, place])
        if self._pending_count * 2 > self.rows.size:
            self.merge()

    def _take_dense(self, scores: NDArray[np.float32], first_row: int) -> None:
        """Most of a block beats the current best (a first block, rows in rising order): select in it first."""
        by_query = np.ascontiguousarray(scores.T)
        k, n = self.rows.shape[1], by_query.shape[1]
        wanted = by_query > self._limit[:, None]
        if n > k:
            wanted &= by_query >= np.partition(by_query, n - k, axis=1)[:, n - k : n - k + 1]
        query, place = np.nonzero(wanted)
        self._add(query, first_row + place, by_query[query, place])

    def _add(self, query: NDArray[np.intp], rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        self._pending.append((query, rows, scores))
        self._pending_count += len(query)

    def merge(self) -> None:
        """Fold the pending candidates in; equal scores keep the lower row, which was seen first."""
        if not self._pending_count:
            return
        query, rows, scores = (np.concatenate(column) for column in zip(*self._pending, strict=True))
        self._pending, self._pending_count = [], 0
        order = np.argsort(query, kind="stable")
        query, rows, scores = query[order], rows[order], scores[order]
        counts = np.bincount(query, minlength=len(self.rows))
        touched = np.flatnonzero(counts)
        line = np.cumsum(counts > 0) - 1
        place = np.arange(len(query)) - (np.cumsum(counts) - counts)[query]
        k = self.rows.shape[1]
        all_scores = np.full((len(touched), k + int(counts.max())), -np.inf, np.float32)
        all_rows = np.full(all_scores.shape, -1, np.int64)
        all_scores[:, :k], all_rows[:, :k] = self.scores[touched], self.rows[touched]
        all_scores[line[query], k + place] = scores
        all_rows[line[query], k + place] = rows
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
        self.scores[touched] = np.take_along_axis(all_scores, best, axis=1)
        self.rows[touched] = np.take_along_axis(all_rows, best, axis=1)
        self._limit = np.ascontiguousarray(self.scores[:, -1])


def _product(block: NDArray[np.float32], queries: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write ``block @ queries.T``; a narrow product in steps, which is up to twice as fast."""
    q, dim = queries.shape
    step = max(_GROUP, _NARROW_PRODUCT // (q * dim)) if 1 < q <= _NARROW_QUERIES else len(block)
    columns = queries.T if step >= len(block) else np.ascontiguousarray(queries.T)
    for start in range(0, len(block), step):
        np.matmul(block[start : start + step], columns, out=out[start : start + step])


def _find_bad_rows(
    vectors: NDArray[np.float32], first_row: int, unit: bool, problems: dict[str, list[int]]
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        suspect = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    for row in suspect:
        if not np.isfinite(vectors[row]).all():
            problem = "with NaN or infinity"
        elif norms[row] == 0:
            problem = "of norm zero"
        elif unit:
            problem = "not of unit norm"
        else:
            continue
        problems.setdefault(problem, []).append(first_row + int(row))


def _some(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:10])
    return shown if len(rows) <= 10 else f"{shown}, ..."
