"""Which images of an upgraded gallery to embed again first, and what each share of them buys.

A transformed gallery can be searched by the new model at once. Embedding its images again with the new model
(backfilling) makes it better, image by image, and costs a pass of the network each; rows of both kinds lie in the new
model's space, so every state in between can be searched. With a budget for a share of the images, the order decides:
those whose transformed vectors are least trustworthy first.

Source: Jaeckle et al., FastFill, ICLR 2023, https://arxiv.org/abs/2303.04766.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, VectorError
from compat_sdk.metrics import score_queries

_TENTHS: tuple[float, ...] = tuple(tenth / 10 for tenth in range(11))


@dataclass(frozen=True)
class BackfillCurve:
    """Accuracy of a gallery against the share of its rows that are embedded again.

    Attributes:
        fractions: Shares of the rows, rising, in [0, 1].
        top1: Fraction of the queries whose first hit is right, at each share.
        map: Mean average precision at each share.
    """

    fractions: tuple[float, ...]
    top1: tuple[float, ...]
    map: tuple[float, ...]

    @property
    def mean_top1(self) -> float:
        """Mean of ``top1`` over the shares: the area under the curve, divided by its width."""
        return _mean_height(self.fractions, self.top1)

    @property
    def mean_map(self) -> float:
        """Mean of ``map`` over the shares."""
        return _mean_height(self.fractions, self.map)

    def to_json(self) -> dict[str, object]:
        """JSON values; accuracies are fractions in [0, 1]."""
        return {
            "fractions": list(self.fractions),
            "top1": list(self.top1),
            "map": list(self.map),
            "mean_top1": self.mean_top1,
            "mean_map": self.mean_map,
        }


def backfill_order(uncertainty: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rows in the order in which to embed them again: the most uncertain first, ties in the gallery's order.

    Args:
        uncertainty: One finite number per gallery row, larger where the transformed vector is worth less. [n]

    Raises:
        VectorError: A value is not finite, or the array has another shape; ``rows`` names them.
    """
    scores = np.asarray(uncertainty, np.float64)
    if scores.ndim != 1:
        raise VectorError(f"uncertainty has shape {list(scores.shape)}; expected one number per gallery row")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise VectorError(
            f"uncertainty is not finite for {len(bad)} of {len(scores)} rows, first row {int(bad[0])}, and such rows "
            f"have no place in an order; train the uncertainty again, or give them a number",
            [int(row) for row in bad[:1000]],
        )
    return np.argsort(-scores, kind="stable").astype(np.int64)


def alignment_errors(transformed: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each transformed vector to what embedding the image again gives: the oracle's uncertainty.

    Args:
        transformed: Unit-norm vectors of the upgraded gallery. [n, dim]
        new: The new model's vectors of the same images. [n, dim]

    Returns:
        Euclidean distances in [0, 2]. [n]
    """
    _check_same(transformed, new)
    errors: NDArray[np.float64] = np.linalg.norm(transformed.astype(np.float64) - new, axis=1)
    return errors


def partly_backfilled(
    transformed: NDArray[np.float32], new: NDArray[np.float32], order: NDArray[np.int64], fraction: float
) -> NDArray[np.float32]:
    """The gallery after a share of its rows, the first of ``order``, has been embedded again.

    Args:
        transformed: Unit-norm vectors of the upgraded gallery. [n, dim]
        new: The new model's vectors of the same images. [n, dim]
        order: Every row once, the first to be embedded again in front. [n]
        fraction: In [0, 1]; the number of rows is rounded to the nearest.

    Raises:
        VectorError: The two differ in shape.
        ConfigError: ``order`` is no order of the rows, or the fraction lies outside [0, 1].
    """
    _check_same(transformed, new)
    if len(order) != len(new) or not np.array_equal(np.sort(order), np.arange(len(new))):
        raise ConfigError(f"the order has {len(order)} entries; expected each of the {len(new)} gallery rows once")
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction is {fraction!r}; expected a share of the rows, at least 0 and at most 1")
    mixed = np.array(transformed, np.float32)
    rows = order[: round(fraction * len(order))]
    mixed[rows] = new[rows]
    return mixed


def backfill_curve(
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    transformed: NDArray[np.float32],
    new: NDArray[np.float32],
    gallery_labels: Sequence[str],
    order: NDArray[np.int64],
    *,
    fractions: Sequence[float] = _TENTHS,
    memory_mib: float = 256,
    exclude_self: NDArray[np.int64] | None = None,
) -> BackfillCurve:
    """Accuracy of the new model's queries while a gallery is embedded again in an order.

    Args:
        queries: Unit-norm vectors of the new model. [q, dim]
        query_labels: One label per query.
        transformed: Unit-norm vectors of the upgraded gallery. [n, dim]
        new: The new model's vectors of the same images. [n, dim]
        gallery_labels: One label per gallery row.
        order: Every row once, the first to be embedded again in front. [n]
        fractions: Shares of the rows to measure at, rising, at least two.
        memory_mib: Bound on the memory of one ranking, in MiB.
        exclude_self: Gallery row of each query's own image, see `compat_sdk.metrics.score_queries`. [q]

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: No query has an image of its label in the gallery.
        ConfigError: ``order`` is no order of the rows, or ``fractions`` do not rise within [0, 1].
    """
    shares = tuple(fractions)
    if len(shares) < 2 or any(low >= high for low, high in pairwise(shares)):
        raise ConfigError(f"fractions are {list(shares)}; expected at least two, each larger than the one before")
    scored = [
        score_queries(
            queries,
            query_labels,
            partly_backfilled(transformed, new, order, share),
            gallery_labels,
            memory_mib=memory_mib,
            exclude_self=exclude_self,
        )
        for share in shares
    ]
    return BackfillCurve(
        fractions=shares,
        top1=tuple(float(found.hits(1).mean()) for found in scored),
        map=tuple(float(found.average_precision.mean()) for found in scored),
    )


def _mean_height(places: Sequence[float], heights: Sequence[float]) -> float:
    at, height = np.asarray(places), np.asarray(heights)
    area = float(((height[1:] + height[:-1]) / 2 * np.diff(at)).sum())
    return area / float(at[-1] - at[0])


def _check_same(transformed: NDArray[np.float32], new: NDArray[np.float32]) -> None:
    if transformed.shape != new.shape or transformed.ndim != 2:
        raise VectorError(
            f"transformed vectors have shape {list(transformed.shape)} and new ones {list(new.shape)}; expected the "
            f"same rows and dimension: both are of the same gallery and in the new model's space"
        )
