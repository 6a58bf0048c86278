"""What a query should find, where the labels of the images do not say it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rows = tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Gallery rows that are right for each query, and those that count neither way.

    Attributes:
        positives: Of each query; an empty list leaves the query out.
        ignored: Of each query: junk, which leaves the ranking before ranks are counted.
        trapezoid: Whether average precision is the area under trapezoids, as ROxford and RParis have it.
    """

    positives: Rows = field(repr=False)
    ignored: Rows = field(repr=False)
    trapezoid: bool = False


def ascending(rows: list[int]) -> NDArray[np.int64]:
    """Row numbers as a list of `Relevance`: each once, in their order."""
    return np.unique(np.array(rows, np.int64))
