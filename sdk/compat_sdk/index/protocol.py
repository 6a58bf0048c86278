"""What every index does."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Index(Protocol):
    """Anything that finds the rows most similar to a query."""

    name: str

    def search(
        self, queries: NDArray[np.float32], k: int, *, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the ``k`` rows of highest cosine similarity for each query.

        Args:
            queries: ``[q, dim]``, float32, unit norm.
            k: Rows wanted per query, at least 1; more than there are gives all of them.
            among: bool ``[n]``: the rows that may be found, all when None. However few they are, ``k`` of them are.

        Returns:
            Row numbers and cosine similarities, both ``[q, min(k, n)]``, best first; of equal scores the
            lower row comes first.

        Raises:
            VectorError: A query is not finite, not of unit norm, or of the wrong type or dimension.
            ConfigError: ``k`` is not a positive integer, or ``among`` is not of the rows.
        """
        ...
