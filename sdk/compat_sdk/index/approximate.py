"""Approximate nearest neighbours: one class over the graphs and lists of several native libraries."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ForeignIndexError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.index import built_here
from compat_sdk.index.engine import Engine, new_engine, read_engine
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.index.exact import ExactIndex
from compat_sdk.index.options import ListOptions, as_numbers, check_kind, effort_of, options_of
from compat_sdk.index.vectors import check_among, check_count, check_k, check_vectors

_SPARE_FOUND = 1.5
_SCANNED_PER_FOUND = 64
"""Rows that a scan scores in the time in which a graph finds one more."""


class ApproximateIndex:
    """A graph or inverted lists over all rows, by a native library, whose extra it needs.

    The rows are the numbers 0 to n-1. One search runs at a time per index; the queries of a batch share the threads,
    and their answers do not depend on how many these are.

    Of equal rows the library holds the first alone: many of them would link to each other and to nothing else, and hide
    the rows behind them. A search that finds it gives all of them. Where the library finds fewer rows than there are,
    or few may be found at all, the exact scan answers.

    Attributes:
        name: Its kind, one of `compat_sdk.index.KINDS`.
        dim: Dimension of the rows.
    """

    def __init__(
        self,
        kind: str,
        engine: Engine,
        equal: EqualRows,
        dim: int,
        exact: Callable[[], ExactIndex],
        threads: int | None = None,
    ) -> None:
        """Wrap an engine; use `build` or `load`, or `compat_sdk.index.build_measured`."""
        self.name, self.dim = kind, dim
        self._engine, self._equal, self._exact = engine, equal, functools.cache(exact)
        self._threads = None if threads is None else check_count("threads", threads)
        self._effort = int(as_numbers(engine.options)[effort_of(engine.options)])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._equal.rows

    @property
    def options(self) -> dict[str, int]:
        """How it was built and is searched, by the names of `compat_sdk.index.options`."""
        return as_numbers(self._engine.options) | {effort_of(self._engine.options): self._effort}

    @property
    def effort(self) -> int:
        """How much a search looks at, at least 1; recall and time grow with it.

        Candidates kept while searching a graph (ef), or lists looked into.
        """
        return self._effort

    @effort.setter
    def effort(self, value: int) -> None:
        self._effort = check_count(effort_of(self._engine.options), value)

    @classmethod
    def build(
        cls, kind: str, vectors: NDArray[np.float32], *, threads: int | None = None, **options: int
    ) -> ApproximateIndex:
        """Build an index over the rows.

        Args:
            kind: ``"usearch"``, ``"hnswlib"``, ``"faiss-hnsw"`` or ``"faiss-ivfpq"``.
            vectors: ``[n, dim]`` float32, unit norm; they are kept, without a copy.
            threads: Threads of the build and of searches; all cores when None. With 1 the index is the same
                every time.
            **options: See `compat_sdk.index.options.GraphOptions` and `compat_sdk.index.options.ListOptions`.

        Raises:
            VectorError: Wrong type, shape or dimension, or rows that are not finite and of unit length.
            ConfigError: Unknown kind or option, or an option out of its range.
            MissingExtraError: The library is not installed.
        """
        vectors = check_vectors(vectors)
        chosen = options_of(check_kind(kind), options)
        if threads is not None:
            check_count("threads", threads)
        equal = EqualRows.of(vectors)
        engine = new_engine(kind, vectors.shape[1], len(equal.firsts), chosen)
        if len(vectors):
            engine.add(vectors, equal.firsts, threads)
        return cls(kind, engine, equal, vectors.shape[1], lambda: ExactIndex(vectors), threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a file, see `compat_sdk.files.atomic.write_atomic`.

        Raises:
            OSError: The file cannot be written.
        """
        write_atomic(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of an index file, and note that it was built here, see `compat_sdk.index.built_here`.

        Raises:
            ConfigError: The notes are not this user's alone.
            SystemRefusedError: The system refused to write the note.
        """
        content = self._engine.to_bytes() + self._equal.to_bytes()
        built_here.note(content)
        return content

    @classmethod
    def load(
        cls,
        kind: str,
        source: str | os.PathLike[str] | bytes,
        rows: int,
        dim: int,
        exact: Callable[[], ExactIndex],
        *,
        threads: int | None = None,
        vouched: bool = False,
        **options: int,
    ) -> ApproximateIndex:
        """Load an index that `save` or `to_bytes` wrote for this user.

        No library's reader can be trusted with a damaged or forged file, it may crash the process: it sees no
        content that this user did not build.

        Args:
            kind: Which index it is.
            source: Path of the file, or its content.
            rows: Number of vectors that the index must hold.
            dim: Dimension that it must have.
            exact: Gives the exact index over the same rows, when a search needs it.
            threads: Threads of searches; all cores when None.
            vouched: A signature of someone who is trusted was checked over this very content.
            **options: How it was built and is to be searched, which the file does not keep.

        Raises:
            ForeignIndexError: It was not built here and nobody vouches for it, or it was changed since.
            GalleryError: Not such an index, or one over other vectors.
            ConfigError: Unknown kind or option, or an option out of its range.
            OSError: The file cannot be read.
            MissingExtraError: The library is not installed.
        """
        chosen = options_of(check_kind(kind), options)
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not vouched and not built_here.was_built_here(hashlib.sha256(content).hexdigest()):
            raise ForeignIndexError(
                "found an index file that this user did not build here, or that was changed since; it is not read, "
                "since a forged one could take over the process: rebuild the index"
            )
        content, equal = EqualRows.split(content, rows)
        engine = read_engine(kind, content, dim, len(equal.firsts), chosen)
        return cls(kind, engine, equal, dim, exact, threads)

    def search(
        self, queries: NDArray[np.float32], k: int, *, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best rows, approximately; see `compat_sdk.index.Index.search`.

        With ``among`` the library finds more rows than are wanted, and those that may not be found are left out. Where
        few may be, or too few of those found, the exact scan answers, so that ``k`` hits remain ``k``.
        """
        queries = check_vectors(queries, self.dim)
        k = min(check_k(k), len(self))
        if among is None:
            return self._nearest(queries, k)
        allowed = int(np.count_nonzero(check_among(among, len(self))))
        k = min(k, allowed)
        if k == 0:
            return self._nearest(queries, 0)
        wanted = min(len(self), math.ceil(_SPARE_FOUND * k * len(self) / allowed))
        if allowed <= _SCANNED_PER_FOUND * wanted:
            return self._exact().search(queries, k, among=among)
        rows, scores = self._nearest(queries, wanted)
        order = np.argsort(~among[rows], axis=1, kind="stable")[:, :k]
        short = np.flatnonzero(among[rows].sum(axis=1) < k)
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        if len(short):
            rows[short], scores[short] = self._exact().search(queries[short], k, among=among)
        return rows, scores

    def nearest_distinct(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Ask the library for rows that equal no earlier one.

        Args:
            queries: ``[q, dim]`` checked rows, at least one.
            k: At least 1, at most as many as it holds.

        Returns:
            Row numbers and cosines, ``[q, k]``, best first; and the queries for which it found fewer.
        """
        options = self._engine.options
        asked = min(len(self._equal.firsts), k * (options.rerank if isinstance(options, ListOptions) else 1))
        with self._lock:
            rows, scores = self._engine.search(queries, asked, self._effort, self._threads)
        if self._engine.rounded:
            scores = self._exact().rescore(rows, queries)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return rows, np.clip(scores, -1, 1), np.flatnonzero(rows[:, -1] < 0)  # a sum of rounded products may pass 1

    def _nearest(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        rows, scores, short = self.nearest_distinct(queries, min(k, len(self._equal.firsts)))
        if not len(short):
            return self._equal.expand(rows, scores, k)
        full = np.setdiff1d(np.arange(len(queries)), short)
        every, of_every = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        every[full], of_every[full] = self._equal.expand(rows[full], scores[full], k)
        # A graph may fall apart around many rows that are almost equal: scan for these queries.
        every[short], of_every[short] = self._exact().search(queries[short], k)
        return every, of_every
