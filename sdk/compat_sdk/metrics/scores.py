"""Retrieval accuracy with intervals: CMC, mAP and paired differences between systems.

``score_queries`` ranks, once per system; everything else here is cheap arithmetic on what it returns, so one ranking
serves every rank, every interval and every comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics.metric import Metric
from compat_sdk.metrics.ranking import PerQuery, score_queries

__all__ = [
    "PerQuery",
    "RetrievalScores",
    "bootstrap_mean",
    "discriminativeness_degradation",
    "paired_difference",
    "rank_correlation",
    "score_queries",
    "summarise",
    "upgrade_gain",
]

Interval = tuple[float, float]


@dataclass(frozen=True)
class RetrievalScores:
    """Accuracy of one (query model, gallery model) pair.

    Attributes:
        cmc: For each rank k, the fraction of queries with a positive among the first k, in [0, 1].
        map: Mean average precision over the full ranking, in [0, 1].
        ci95: 95 % bootstrap interval over queries of each figure, under ``str(k)`` and ``"map"``.
        queries: Queries scored.
        gallery_size: Rows in the gallery.
        skipped: Queries left out because the gallery holds no image of their label.
        metric: The accuracy that was asked for, by which systems are compared.
        accuracy: Its value, in [0, 1].
        interval: Its 95 % bootstrap interval over queries.
    """

    cmc: Mapping[int, float]
    map: float
    ci95: Mapping[str, Interval]
    queries: int
    gallery_size: int
    skipped: int
    metric: Metric
    accuracy: float
    interval: Interval

    def to_json(self) -> dict[str, object]:
        """``{"cmc": {"1": ...}, "map": ..., "ci95": {"1": [lo, hi], ..., "map": [lo, hi]}}``, fractions.

        Besides them the accuracy that was asked for, as ``"accuracy": {"metric": ..., "value": ..., "ci95": ...}``.
        """
        return {
            "cmc": {str(rank): value for rank, value in self.cmc.items()},
            "map": self.map,
            "ci95": {name: list(interval) for name, interval in self.ci95.items()},
            "accuracy": {"metric": str(self.metric), "value": self.accuracy, "ci95": list(self.interval)},
        }


def summarise(
    per_query: PerQuery,
    ranks: Sequence[int] = (1, 5, 10),
    draws: int = 1000,
    seed: int = 0,
    *,
    metric: Metric | None = None,
    values: NDArray[np.float64] | None = None,
) -> RetrievalScores:
    """CMC at the given ranks and mAP, each with a 95 % percentile bootstrap interval over queries.

    Args:
        per_query: Output of ``score_queries``.
        ranks: Ranks of the CMC curve, from 1.
        draws: Bootstrap resamples.
        seed: Seed of the resampling; the same seed gives the same intervals.
        metric: The accuracy that systems are compared by; top-1 if not given.
        values: Its value of each scored query, from `Metric.values`; not needed where the ranking says it. [kept]

    Raises:
        ConfigError: A rank or ``draws`` is below 1, or ``values`` are missing or of other queries.
        DataError: ``per_query`` is empty.
    """
    if not ranks or min(ranks) < 1:
        raise ConfigError(f"ranks must be whole numbers from 1, got {list(ranks)}")
    metric = metric or Metric()
    values = metric.of(per_query) if values is None else values
    if values is None or len(values) != len(per_query):
        raise ConfigError(f"{metric} needs its value of each of the {len(per_query)} scored queries; give values")
    columns = np.stack([*(per_query.hits(rank) for rank in ranks), per_query.average_precision, values])
    means, low, high = _bootstrap(columns, draws, seed)
    names = [*(str(rank) for rank in ranks), "map"]
    return RetrievalScores(
        cmc={rank: float(mean) for rank, mean in zip(ranks, means[:-2], strict=True)},
        map=float(means[-2]),
        ci95={name: (float(low[i]), float(high[i])) for i, name in enumerate(names)},
        queries=len(per_query),
        gallery_size=per_query.gallery_size,
        skipped=per_query.skipped,
        metric=metric,
        accuracy=float(means[-1]),
        interval=(float(low[-1]), float(high[-1])),
    )


def bootstrap_mean(values: NDArray[np.float64], draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Mean and 95 % percentile bootstrap interval: ``(mean, low, high)``.

    With one row per training run, runs and queries are both drawn with replacement, so the interval also covers
    the chance of another seed. With very few runs it is a rough guide: three runs are three values.

    Args:
        values: One value per query [queries], or per run and query [runs, queries].
        draws: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        DataError: ``values`` is empty, not finite or of another shape.
        ConfigError: ``draws`` is below 1.
    """
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        means, low, high = _bootstrap(values[None], draws, seed)
        return float(means[0]), float(low[0]), float(high[0])
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise DataError(f"values must be finite, [queries] or [runs, queries], got shape {values.shape}")
    if draws < 1:
        raise ConfigError(f"draws must be at least 1, got {draws}")
    random = np.random.default_rng(seed)
    runs, queries = values.shape
    means = np.empty(draws)
    for draw in range(draws):
        weights = np.bincount(random.integers(runs, size=runs), minlength=runs) / runs
        means[draw] = (weights @ values)[random.integers(queries, size=queries)].mean()
    low, high = np.percentile(means, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def paired_difference(
    a: NDArray[np.float64], b: NDArray[np.float64], draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``a - b`` with its 95 % bootstrap interval: ``(difference, low, high)``.

    Both systems answered the same queries, so each draw takes the same queries of both: the interval is of the
    difference, far tighter than two separate intervals suggest.

    Args:
        a: One value per query [queries], or per run and query [runs, queries]; for instance ``PerQuery.hits(1)``.
        b: The other system's values of the same runs and queries, in the same order.
        draws: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        DataError: The two differ in shape, or are empty.
        ConfigError: ``draws`` is below 1.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise DataError(f"paired values must be of the same queries, got shapes {a.shape} and {b.shape}")
    return bootstrap_mean(a - b, draws, seed)


def upgrade_gain(upgraded: float, old_old: float) -> float:
    """Relative gain in accuracy of a system that was upgraded without embedding its gallery again.

    Source: Zhang et al., Darwinian Model Upgrades, AAAI 2023, https://arxiv.org/abs/2210.06954, Eq. 6.

    Args:
        upgraded: M(new, old), the new model's queries in the old gallery, or M(new, h) in a transformed one.
        old_old: M(old, old), the system before. Above 0.

    Returns:
        ``(upgraded - old_old) / old_old``; 0.19 reads "19 % better", and below 0 the upgrade did harm.

    Raises:
        DataError: ``old_old`` is not above 0, so that nothing can be measured against it.
    """
    if not old_old > 0:
        raise DataError(f"M(old, old) is {old_old!r}; a relative gain needs an old system that finds anything at all")
    return (upgraded - old_old) / old_old


def discriminativeness_degradation(oracle: float, new_new: float) -> float:
    """Relative loss in accuracy of a new model that had to stay compatible with an old one.

    Source: Zhang et al., Darwinian Model Upgrades, AAAI 2023, https://arxiv.org/abs/2210.06954, Eq. 7.

    Args:
        oracle: M(new, new) of the same network trained as if there were no old model. Above 0.
        new_new: M(new, new) of the compatible network.

    Returns:
        ``(oracle - new_new) / oracle``; below 0 compatibility even helped.

    Raises:
        DataError: ``oracle`` is not above 0.
    """
    if not oracle > 0:
        raise DataError(f"the oracle's accuracy is {oracle!r}; a relative loss needs one that finds anything at all")
    return (oracle - new_new) / oracle


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation: Pearson's of the ranks, where equal values share their mean rank.

    Args:
        first: Values, ``[n]``.
        second: As many.

    Returns:
        A value in [-1, 1]; None for fewer than 3 pairs, or where all values of one side are equal.

    Raises:
        ConfigError: The sequences differ in length.
    """
    values = [np.asarray(side, np.float64) for side in (first, second)]
    if len(values[0]) != len(values[1]):
        raise ConfigError(f"found {len(values[0])} and {len(values[1])} values; expected as many of each")
    if len(values[0]) < 3 or any(len(np.unique(side)) == 1 for side in values):
        return None
    return float(np.corrcoef(_ranks(values[0]), _ranks(values[1]))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], np.float64)


def _bootstrap(
    values: NDArray[np.float64], draws: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Row means, and the 2.5 and 97.5 percentiles of their resamples, columns drawn together."""
    if draws < 1:
        raise ConfigError(f"draws must be at least 1, got {draws}")
    if not values.size or not np.isfinite(values).all():
        raise DataError("there is nothing to average, or a value is not finite")
    random = np.random.default_rng(seed)
    queries = values.shape[1]
    means = np.empty((draws, len(values)))
    for draw in range(draws):
        weights = np.bincount(random.integers(queries, size=queries), minlength=queries)
        means[draw] = values @ weights
    low, high = np.percentile(means / queries, (2.5, 97.5), axis=0)
    return values.mean(axis=1), low, high
