"""Rows of vectors that lie in several arrays, one after the other, such as the mapped segments of a gallery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import VectorError
from compat_sdk.index.vectors import check_vectors

_PAIRS_AT_ONCE = 65536


class Parts:
    """Unit float32 rows of one dimension, checked, without a copy.

    Attributes:
        arrays: ``[n, dim]`` each.
        starts: Row number of the first row of each, and at the end the number of all rows.
        dim: Of every row.
    """

    def __init__(self, vectors: NDArray[np.float32] | Sequence[NDArray[np.float32]]) -> None:
        """Check one array or several.

        Raises:
            VectorError: Wrong type, shape or dimension, or rows that are not finite and of unit length; row numbers
                count over all arrays.
        """
        found = [vectors] if isinstance(vectors, np.ndarray) else list(vectors)
        if not found:
            raise VectorError("found no array, expected at least one; an empty index is numpy.empty((0, dim))")
        self.arrays: list[NDArray[np.float32]] = []
        self.starts = [0]
        dim: int | None = None
        for part in found:
            try:
                checked = check_vectors(part, dim)
            except VectorError as error:
                rows = [row + self.starts[-1] for row in error.rows]
                raise VectorError(f"vectors from row {self.starts[-1]} on: {error}", rows) from None
            dim = checked.shape[1]
            self.arrays.append(checked)
            self.starts.append(self.starts[-1] + len(checked))
        self.dim = self.arrays[0].shape[1]

    def __len__(self) -> int:
        return self.starts[-1]

    def blocks(
        self, size: int, low: int, high: int, chosen: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the rows from ``low`` to ``high`` in pieces of at most ``size``, each with the place of its first.

        Args:
            size: At least 1.
            low: A place: a row number, or with ``chosen`` a place in it.
            high: The place after the last.
            chosen: Row numbers, rising: these rows alone, copied a piece at a time.
        """
        for start, array in zip(self.starts, self.arrays, strict=False):
            stop = start + len(array)
            if chosen is not None:
                start, stop = np.searchsorted(chosen, (start, stop)).tolist()
            for first in range(max(start, low), min(stop, high), size):
                last = min(first + size, stop, high)
                yield first, array[first - start : last - start] if chosen is None else self._of(chosen[first:last])

    def _of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copy rows that all lie in one array."""
        number = int(np.searchsorted(self.starts, rows[0], "right")) - 1
        return self.arrays[number][rows - self.starts[number]]

    def scores(self, rows: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score pairs one by one: a pair has the same score whatever stands beside it.

        Args:
            rows: ``[q, m]`` row numbers; those outside of the rows score minus infinity.
            queries: ``[q, dim]``.

        Returns:
            ``[q, m]`` inner products.
        """
        scores = np.full(rows.shape, -np.inf, np.float32)
        for start, array in zip(self.starts, self.arrays, strict=False):
            query, place = np.nonzero((rows >= start) & (rows < start + len(array)))
            for first in range(0, len(query), _PAIRS_AT_ONCE):
                who, where = query[first : first + _PAIRS_AT_ONCE], place[first : first + _PAIRS_AT_ONCE]
                scores[who, where] = pair_scores(array[rows[who, where] - start], queries[who])
        return scores


def pair_scores(rows: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products of the rows of two ``[n, dim]`` arrays, ``[n]``."""
    scores: NDArray[np.float32] = np.einsum("nd,nd->n", rows, queries)
    return scores
