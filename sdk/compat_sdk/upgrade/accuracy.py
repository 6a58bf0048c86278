"""How good transformed vectors are, measured against the new model's own vectors of the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.index import ExactIndex
from compat_sdk.spread import spread

MOST_ROWS = 10_000
_MOST_QUERIES = 1000
_NEIGHBOURS = 10


@dataclass(frozen=True)
class Accuracy:
    """Transformed vectors beside re-embedded ones.

    Attributes:
        rows: Images compared.
        mean_cosine: Mean cosine similarity of the two vectors of an image, in [-1, 1].
        lowest_cosine: The lowest of them.
        overlap: Of the ``neighbours`` nearest re-embedded images of a re-embedded query, the fraction that is also
            among the nearest transformed ones; mean over queries, in [0, 1]. It depends on how many rows there are.
        neighbours: 10, or one less than ``rows`` where there are fewer.
    """

    rows: int
    mean_cosine: float
    lowest_cosine: float
    overlap: float
    neighbours: int


def compare(transformed: NDArray[np.float32], embedded: NDArray[np.float32]) -> Accuracy:
    """Compare the two vectors of every image, and the neighbours that they give.

    Args:
        transformed: ``[n, dim]`` unit rows; n at least 2.
        embedded: ``[n, dim]`` unit rows by the new model, of the same images.

    Raises:
        ConfigError: Fewer than two rows.
    """
    if len(transformed) < 2:
        raise ConfigError(f"found {len(transformed)} images with vectors of both kinds, expected at least 2")
    cosines = np.einsum("nd,nd->n", transformed, embedded)
    queries = spread(len(embedded), _MOST_QUERIES)
    k = min(_NEIGHBOURS, len(embedded) - 1)
    wanted, found = (_neighbours(ExactIndex(rows), embedded[queries], queries, k) for rows in (embedded, transformed))
    shared = [len(np.intersect1d(one, other)) for one, other in zip(wanted, found, strict=True)]
    return Accuracy(
        len(transformed), float(cosines.mean()), float(cosines.min()), float(np.mean(shared)) / k, neighbours=k
    )


def _neighbours(
    index: ExactIndex, queries: NDArray[np.float32], own: NDArray[np.int64], k: int
) -> list[NDArray[np.int64]]:
    """The k nearest rows of each query except its own image."""
    rows, _ = index.search(queries, k + 1)
    return [line[line != row][:k] for line, row in zip(rows, own, strict=True)]
