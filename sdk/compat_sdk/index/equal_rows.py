"""Rows that hold the same vector: blank frames, placeholder pictures, one file under many names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import GalleryError

_MAGIC = b"compat-sdk-equal-rows"


class EqualRows:
    """Which rows hold the same vector, to the byte, as an earlier one.

    Attributes:
        rows: How many rows there are.
        firsts: int64, rising: the rows that equal no earlier one.
    """

    def __init__(self, rows: int, pairs: NDArray[np.int64]) -> None:
        """Keep int64 ``[m, 2]``: a row, rising, and the first row of the same vector."""
        self.rows = rows
        self._pairs = pairs
        distinct = np.ones(rows, bool)
        distinct[pairs[:, 0]] = False
        self.firsts = np.flatnonzero(distinct)
        order = np.argsort(pairs[:, 1], kind="stable")
        self._repeated, self._first_of = pairs[order, 0], pairs[order, 1]

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> EqualRows:
        """Compare all rows of ``[n, dim]``."""
        if not len(vectors):
            return cls(0, np.empty((0, 2), np.int64))
        lines = np.ascontiguousarray(vectors).view(np.dtype((np.void, vectors.shape[1] * vectors.itemsize))).ravel()
        _, firsts, group = np.unique(lines, return_index=True, return_inverse=True)
        first = firsts[group].astype(np.int64)
        repeated = np.flatnonzero(first != np.arange(len(vectors)))
        return cls(len(vectors), np.stack([repeated, first[repeated]], axis=1))

    def to_bytes(self) -> bytes:
        """What an index file ends with; nothing where all rows differ, as in files of earlier releases."""
        if not len(self._pairs):
            return b""
        return self._pairs.astype("<i8").tobytes() + len(self._pairs).to_bytes(8, "little") + _MAGIC

    @classmethod
    def split(cls, content: bytes, rows: int) -> tuple[bytes, EqualRows]:
        """Return the engine's part of an index file, and what follows it.

        Raises:
            GalleryError: What follows does not fit an index over this many rows.
        """
        if not content.endswith(_MAGIC):
            return content, cls(rows, np.empty((0, 2), np.int64))
        end = len(content) - len(_MAGIC) - 8
        size = 16 * int.from_bytes(content[max(0, end) : max(0, end) + 8], "little")
        if 0 < size <= end:
            pairs = np.frombuffer(content[end - size : end], "<i8").astype(np.int64).reshape(-1, 2)
            rising = bool((np.diff(pairs[:, 0]) > 0).all())
            if rising and pairs.min() >= 0 and pairs.max() < rows and bool((pairs[:, 1] < pairs[:, 0]).all()):
                return content[: end - size], cls(rows, pairs)
        raise GalleryError("found an index whose equal rows are not the gallery's; rebuild the index")

    def expand(
        self, rows: NDArray[np.int64], scores: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Put the equal rows beside the first ones that were found, and keep the best ``k``.

        Args:
            rows: ``[q, m]``, best first, each the first row of its vector, ``m`` at least the smaller of ``k`` and the
                number of distinct vectors.
            scores: Of these rows.
            k: At most as many as there are rows.

        Returns:
            Rows and scores, both ``[q, k]``, best first; of equal scores the lower row comes first.
        """
        if not len(self._pairs):
            return rows, scores
        every, of_every = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
        starts, stops = (np.searchsorted(self._first_of, rows, side) for side in ("left", "right"))
        for query in range(len(rows)):
            lines: list[NDArray[np.int64]] = []
            wanted = 0
            for place, row in enumerate(rows[query]):
                if wanted >= k and scores[query, place] < scores[query, place - 1]:
                    break
                equal = self._repeated[starts[query, place] : stops[query, place]][:k]
                lines.append(np.concatenate(([row], equal)))
                wanted += len(lines[-1])
            found = np.concatenate(lines)
            of_found = np.repeat(scores[query, : len(lines)], [len(line) for line in lines])
            best = np.lexsort((found, -of_found))[:k]
            every[query], of_every[query] = found[best], of_found[best]
        return every, of_every
