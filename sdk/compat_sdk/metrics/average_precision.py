"""Average precision of one query, as the benchmarks define it: over all ranks, up to a cut-off, by trapezoids.

Each function takes the ranks of a query's positives and gives one number, for `compat_sdk.metrics.score_queries` and
`compat_sdk.metrics.score_listed`. The definitions differ on the same ranking, so a figure is worth something only
beside figures of the same one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError


def average_precision(ranks: NDArray[np.int64]) -> float:
    """Mean over the positives of the precision at each one's rank.

    ``AP = 1/P * sum_i i / r_i``, with the i-th positive at rank ``r_i``: the full ranking, no interpolation.

    Args:
        ranks: Ranks of all positives, ascending, from 1. [positives], at least one.

    Returns:
        A fraction in (0, 1].
    """
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def average_precision_at(ranks: NDArray[np.int64], cut_off: int) -> float:
    """Average precision of the first ``cut_off`` results: ``AP@k = 1/min(P, k) * sum_{r_i <= k} i / r_i``.

    Source: Google Landmarks Dataset v2, CVPR 2020, https://arxiv.org/abs/2004.01804, section 3.2, with k = 100.

    Args:
        ranks: Ranks of all positives, ascending, from 1. [positives], at least one.
        cut_off: Results that count, at least 1.

    Returns:
        A fraction in [0, 1]; 1 when as many positives as there is room for stand first.

    Raises:
        ConfigError: ``cut_off`` is below 1.
    """
    if cut_off < 1:
        raise ConfigError(f"cut_off is {cut_off}; expected a number of results, at least 1")
    seen = ranks[ranks <= cut_off]
    return float(np.sum(np.arange(1, len(seen) + 1) / seen)) / min(len(ranks), cut_off)


def trapezoid_average_precision(ranks: NDArray[np.int64]) -> float:
    """Area under precision over recall, joined by straight lines.

    Between two positives precision falls with each negative, so that each step of recall, ``1/P``, is worth the mean of
    the precision just before the positive and at it: ``((i - 1) / (r_i - 1) + i / r_i) / 2``, the first being 1 at
    rank 1. It lies below `average_precision` unless all positives stand first.

    Source: Revisiting Oxford and Paris, CVPR 2018, https://arxiv.org/abs/1803.11285, and the evaluation that the
    authors published with it.

    Args:
        ranks: Ranks of all positives, ascending, from 1, what is ignored taken out. [positives], at least one.

    Returns:
        A fraction in (0, 1].
    """
    order = np.arange(1, len(ranks) + 1)
    before = np.where(ranks == 1, 1.0, (order - 1) / np.maximum(ranks - 1, 1))
    return float(np.mean((before + order / ranks) / 2))
