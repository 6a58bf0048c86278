"""Nearest neighbours by inner product: an exact scan in numpy, and an approximate graph from usearch.

Every index takes unit-norm float32 rows, answers with row numbers and cosine similarities, best first,
and never sees a vector that `check_vectors` has not passed.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, ForeignIndexError, GalleryError, MissingExtraError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.index import built_here
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.index.vectors import check_k, check_vectors


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


class UsearchIndex:
    """A navigable small-world graph (HNSW), built and searched by usearch; needs the extra ``usearch``.

    Approximate: with the defaults it finds more than 95 in 100 of the true ten nearest. The rows are the
    numbers 0 to n-1. One search runs at a time per index; the queries of a batch share the threads.

    Of equal rows the graph holds the first alone: many of them would link to each other and to nothing else, and hide
    the rows behind them. A search that finds it gives all of them.
    """

    name = "usearch"

    def __init__(self, engine: Any, equal: EqualRows, dim: int, threads: int | None = None) -> None:
        """Wrap an engine; use `build` or `load`."""
        self._engine = engine
        self._equal = equal
        self.dim = dim
        self._threads = _check_count("threads", threads) if threads is not None else 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._equal.rows

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        connectivity: int = 16,
        expansion_add: int = 128,
        expansion_search: int = 64,
        threads: int | None = None,
    ) -> UsearchIndex:
        """Build a graph over the rows.

        Args:
            vectors: ``[n, dim]`` float32, unit norm.
            connectivity: Links per row, 2 or more; memory grows with it.
            expansion_add: Candidates kept while a row is linked; the build slows down with it.
            expansion_search: Candidates kept while searching; recall and time grow with it.
            threads: Threads of the build and of searches; all cores when None. With 1 the graph is the same
                every time.

        Raises:
            VectorError: Wrong type, shape or dimension, or rows that are not finite and of unit length.
            ConfigError: An option is out of its range.
            MissingExtraError: usearch is not installed.
        """
        vectors = check_vectors(vectors)
        if _check_count("connectivity", connectivity) < 2:
            raise ConfigError(f"connectivity is {connectivity}, expected at least 2")
        engine = _usearch().Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=connectivity,
            expansion_add=_check_count("expansion_add", expansion_add),
            expansion_search=_check_count("expansion_search", expansion_search),
        )
        equal = EqualRows.of(vectors)
        index = cls(engine, equal, vectors.shape[1], threads)
        if len(vectors):
            distinct = vectors if len(equal.firsts) == len(vectors) else vectors[equal.firsts]
            engine.add(equal.firsts.astype(np.uint64), distinct, threads=index._threads)
        return index

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
        content = bytes(self._engine.save()) + self._equal.to_bytes()
        built_here.note(content)
        return content

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | bytes,
        rows: int,
        dim: int,
        *,
        expansion_search: int = 64,
        threads: int | None = None,
        vouched: bool = False,
    ) -> UsearchIndex:
        """Load an index that `save` or `to_bytes` wrote for this user.

        The engine's reader cannot be trusted with a damaged or forged file, it may crash the process: it sees no
        content that this user did not build.

        Args:
            source: Path of the file, or its content.
            rows: Number of vectors that the index must hold.
            dim: Dimension that it must have.
            expansion_search: Candidates kept while searching, which the file does not keep.
            threads: Threads of searches; all cores when None.
            vouched: A signature of someone who is trusted was checked over this very content.

        Raises:
            ForeignIndexError: It was not built here and nobody vouches for it, or it was changed since.
            GalleryError: Not a usearch index, or one over other vectors.
            OSError: The file cannot be read.
            MissingExtraError: usearch is not installed.
        """
        module = _usearch()
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not vouched and not built_here.was_built_here(hashlib.sha256(content).hexdigest()):
            raise ForeignIndexError(
                "found an index file that this user did not build here, or that was changed since; it is not read, "
                "since a forged one could take over the process: rebuild the index"
            )
        content, equal = EqualRows.split(content, rows)
        expected = {"dimensions": dim, "count_present": len(equal.firsts), "kind_metric": module.MetricKind.IP}
        try:
            found = module.Index.metadata(content)
        except Exception as error:  # the engine raises whatever its C++ threw
            raise GalleryError(f"found a file that usearch cannot read ({error}); rebuild the index") from error
        wrong = [key for key, value in expected.items() if found is None or found.get(key) != value]
        if wrong:
            raise GalleryError(
                f"found a usearch index with {', '.join(wrong)} unlike the gallery's ({rows} rows of dimension "
                f"{dim}, inner product); rebuild the index"
            )
        engine = module.Index(ndim=dim, metric="ip", dtype="f32")
        engine.load(content)
        index = cls(engine, equal, dim, threads)
        index.expansion_search = expansion_search
        return index

    @property
    def expansion_search(self) -> int:
        """Candidates kept while searching, at least 1; recall and time grow with it."""
        return int(self._engine.expansion_search)

    @expansion_search.setter
    def expansion_search(self, value: int) -> None:
        self._engine.expansion_search = _check_count("expansion_search", value)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best rows, approximately; see `Index.search`."""
        queries = check_vectors(queries, self.dim)
        k = min(check_k(k), len(self))
        distinct = min(k, len(self._equal.firsts))
        rows = np.empty((len(queries), distinct), np.int64)
        scores = np.empty((len(queries), distinct), np.float32)
        if rows.size == 0:
            return rows, scores
        with self._lock:
            short = self._search_into(queries, distinct, rows, scores, np.arange(len(queries)), exact=False)
            if len(short):  # a graph may fall apart around many rows that are almost equal: scan for these queries
                self._search_into(queries, distinct, rows, scores, short, exact=True)
        np.clip(scores, -1, 1, out=scores)  # a sum of rounded products may pass 1
        order = np.lexsort((rows, -scores), axis=1)
        best = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return self._equal.expand(*best, k)

    def _search_into(
        self,
        queries: NDArray[np.float32],
        k: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        which: NDArray[np.int64],
        *,
        exact: bool,
    ) -> NDArray[np.int64]:
        """Fill the lines ``which``; return those for which fewer than ``k`` rows were found."""
        found = self._engine.search(queries[which], k, threads=self._threads, exact=exact)
        keys, distances = np.atleast_2d(found.keys), np.atleast_2d(found.distances)
        counts = np.atleast_1d(np.asarray(getattr(found, "counts", keys.shape[1])))
        full = np.flatnonzero(counts == k) if keys.shape[1] == k else np.empty(0, np.int64)
        rows[which[full]] = keys[full].astype(np.int64)
        scores[which[full]] = 1 - distances[full]
        return np.delete(which, full)


def _usearch() -> Any:
    if "usearch" not in sys.modules:
        # usearch makes the symbols of its numkong global, and an onnxruntime loaded after that kills the process
        # (seen with usearch 2.26.6 and onnxruntime 1.31.1 on Linux); one loaded before does not.
        with suppress(ImportError):
            import onnxruntime  # noqa: F401
    try:
        import usearch.index
    except ImportError as error:
        raise MissingExtraError("usearch", "usearch") from error
    return usearch.index


def _check_count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}, expected an integer of at least 1")
    return value
