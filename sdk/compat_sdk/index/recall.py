"""What an index finds of the nearest rows, judged by what the rows are and not by what the index says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.index.exact import ExactIndex


@dataclass(frozen=True)
class Questions:
    """Queries whose nearest rows are known.

    Attributes:
        exact: The exact index over the rows.
        queries: ``[q, dim]`` float32, unit norm.
        least: ``[q, 1]`` cosine of the last of the nearest rows. Any row that is as near counts as one of them.
    """

    exact: ExactIndex
    queries: NDArray[np.float32]
    least: NDArray[np.float32]

    @classmethod
    def of(
        cls, exact: ExactIndex, queries: NDArray[np.float32], neighbours: int, among: NDArray[np.int64] | None = None
    ) -> Questions:
        """Ask the exact index for so many neighbours of each query; with ``among`` only of these rows."""
        chosen = None
        if among is not None:
            chosen = np.zeros(len(exact), bool)
            chosen[among] = True
        return cls(exact, queries, exact.search(queries, neighbours, among=chosen)[1][:, -1:])

    def recall(self, rows: NDArray[np.int64]) -> float:
        """Mean fraction, in [0, 1], of the nearest rows that ``[q, neighbours]`` found row numbers name.

        A pair has one exact cosine, to the bit, so that there is no tolerance. A number that is no row finds nothing,
        a row that is named twice counts once, and what an index says of a row's cosine does not matter.
        """
        near = self.exact.rescore(rows, self.queries).clip(max=1) >= self.least
        named = np.sort(np.where(near, rows, -1), axis=1)
        first = np.diff(named, axis=1, prepend=-1) > 0
        return float(np.mean(first))
