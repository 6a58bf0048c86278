"""Exact nearest neighbours: every row is scored, by numpy or by faiss, with the same answer to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.index.parts import Parts
from compat_sdk.index.scan import Candidates, scan
from compat_sdk.index.vectors import check_among, check_count, check_k, check_vectors
from compat_sdk.shown import shown_value

Product = Literal["numpy", "faiss", "faiss-gpu"]
"""What scores every row: numpy, faiss on the processor, or faiss on a CUDA device."""

_QUERIES_AT_ONCE = 1024
_SPARE = 8


class _FirstPass(Protocol):
    """Scores every row, roundly, and names the best."""

    def candidates(self, queries: NDArray[np.float32], k: int, spare: int) -> Candidates | None:
        """Return the ``k + spare`` best rows, or None where numpy is the better one to ask."""
        ...


class ExactIndex:
    """Every row is scored; numpy only, unless faiss is asked for.

    A first pass names a few candidates more than are wanted. They are then scored one by one, so that a pair has
    one score, equal rows tie, and ties go to the lower row, whatever made the first pass, in whichever blocks, on
    however many threads. Where more rows than that crowd around the k-th best, numpy scores all of them one by one.
    """

    name = "exact"

    def __init__(
        self,
        vectors: NDArray[np.float32] | Sequence[NDArray[np.float32]],
        *,
        threads: int = 1,
        product: Product = "numpy",
    ) -> None:
        """Check the rows and keep them, without a copy.

        Args:
            vectors: ``[n, dim]`` float32, unit norm; or several such arrays that stand one after the other
                (memory-mapped segments of a gallery).
            threads: Threads that share the rows in a search. One query is bound by the memory, which one core may not
                be able to keep busy; numpy's products of many queries have threads of their own.
            product: ``"faiss"`` reads the memory at a higher rate where queries come one by one. ``"faiss-gpu"``
                copies all rows to the first CUDA device.

        Raises:
            VectorError: Wrong type, shape or dimension, or rows that are not finite and of unit length; row
                numbers count over all arrays.
            ConfigError: ``threads`` or ``product`` is out of its range, or there is no CUDA device.
            MissingExtraError: faiss is asked for and not installed.
        """
        self._parts = Parts(vectors)
        self._threads = check_count("threads", threads)
        self._first_pass = _first_pass(product, self._parts)
        self.dim = self._parts.dim

    @property
    def arrays(self) -> list[NDArray[np.float32]]:
        """The checked arrays, ``[n, dim]`` each."""
        return self._parts.arrays

    def __len__(self) -> int:
        return len(self._parts)

    def search(
        self, queries: NDArray[np.float32], k: int, *, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best rows, see `compat_sdk.index.Index.search`."""
        queries = check_vectors(queries, self.dim)
        chosen = None if among is None else np.flatnonzero(check_among(among, len(self)))
        k = min(check_k(k), len(self))
        if chosen is not None:
            k = min(k, len(chosen))
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        if k == 0:
            return rows, scores
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            rows[part], scores[part], crowded = self._find(queries[part], k, chosen)
            if len(crowded):
                again = start + crowded
                found = scan(self._parts, queries[again], k, 0, chosen, self._threads)
                rows[again], scores[again] = self._settled(found.rows, queries[again], k)
        np.clip(scores, -1, 1, out=scores)  # a sum of rounded products may pass 1
        return rows, scores

    def rescore(self, rows: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Exact cosines of ``[q, m]`` row numbers and ``[q, dim]`` queries; minus infinity where a row is none."""
        return self._parts.scores(rows, queries)

    def _find(
        self, queries: NDArray[np.float32], k: int, chosen: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Return rows, scores, and the queries for which the spare candidates were too few to tell ties apart."""
        found = None
        if self._first_pass is not None and chosen is None:
            found = self._first_pass.candidates(queries, k, _SPARE)
        if found is None:
            found = scan(self._parts, queries, k, _SPARE, chosen, self._threads)
        crowded = np.flatnonzero(found.scores[:, -1] >= found.floor)
        return *self._settled(found.rows, queries, k), crowded

    def _settled(
        self, found: NDArray[np.int64], queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = np.where(found < 0, len(self), found)
        rows.sort(axis=1)
        scores = self._parts.scores(rows, queries)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _first_pass(product: Product, parts: Parts) -> _FirstPass | None:
    if product not in get_args(Product):
        raise ConfigError(f"product is {shown_value(product)}, expected one of {', '.join(get_args(Product))}")
    if product == "numpy":
        return None
    from compat_sdk.index import faiss_flat

    return faiss_flat.OnProcessor(parts) if product == "faiss" else faiss_flat.OnDevice(parts)
