"""Verification: are these two of one identity? TAR at a FAR, and accuracy in ten folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics.exact_scores import check_vectors, scaled

_UNIT = 2.0**-52


@dataclass(frozen=True)
class Acceptance:
    """One point of a receiver operating characteristic.

    Attributes:
        tar: True acceptance rate: genuine pairs at or above the threshold, in [0, 1].
        far: False acceptance rate: impostor pairs at or above it, in [0, 1].
        threshold: Score that a pair must reach; ``inf`` where none is accepted.
    """

    tar: float
    far: float
    threshold: float


@dataclass(frozen=True)
class FoldAccuracy:
    """Accuracy of verification over folds.

    Attributes:
        mean: Mean over the folds, in [0, 1].
        std: Standard deviation over the folds, of the population.
        folds: Each fold's accuracy.
    """

    mean: float
    std: float
    folds: tuple[float, ...]


def pair_scores(
    left: NDArray[np.float32], right: NDArray[np.float32], pairs: ArrayLike, *, block: int = 4096
) -> NDArray[np.float64]:
    """Cosine of each pair, exactly: equal vectors score equal, whatever the block.

    For figures across models ``left`` is embedded by the query model, or a new one, and ``right`` by the gallery model,
    or the old one.

    Args:
        left: Unit-norm vectors. [l, dim]
        right: Unit-norm vectors. [r, dim]
        pairs: Rows of both. [pairs, 2], whole numbers.
        block: Pairs at a time, which bounds memory at about ``24 * dim * block`` bytes.

    Returns:
        Scores in [-1, 1] up to rounding. [pairs]

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: ``pairs`` is of another shape, or names a row that is not there.
        ConfigError: ``block`` is below 1.
    """
    check_vectors(left, right)
    rows = np.asarray(pairs)
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu":
        raise DataError(f"pairs are {rows.dtype} of shape {rows.shape}; expected whole numbers, [pairs, 2]")
    for column, side, what in ((0, left, "left"), (1, right, "right")):
        if len(rows) and (int(rows[:, column].min()) < 0 or int(rows[:, column].max()) >= len(side)):
            raise DataError(f"pairs name a {what} row outside 0 to {len(side) - 1}")
    if block < 1:
        raise ConfigError(f"block is {block}; expected a number of pairs, at least 1")
    scores = np.empty(len(rows))
    for at in range(0, len(rows), block):
        part = rows[at : at + block]
        np.einsum("ij,ij->i", scaled(left[part[:, 0]]), scaled(right[part[:, 1]]), out=scores[at : at + block])
    return scores * _UNIT


def tar_at_far(
    scores: ArrayLike, same: ArrayLike, fars: Sequence[float], *, choose: Literal["nearest", "at most"] = "nearest"
) -> list[Acceptance]:
    """True acceptance rate at each false acceptance rate.

    Thresholds are the scores themselves. ``nearest`` takes the threshold whose FAR is nearest to what is asked for, as
    published face evaluations do; of two as near, the one that accepts more. Its FAR may exceed what was asked for.
    ``at most`` never does. With few impostor pairs the two differ much.

    Args:
        scores: One score per pair. [pairs]
        same: Whether the pair is of one identity. [pairs]
        fars: False acceptance rates, each in [0, 1].
        choose: Which threshold.

    Returns:
        One point per rate, in order.

    Raises:
        DataError: Shapes differ, a score is not finite, or there is no genuine or no impostor pair.
        ConfigError: A rate is outside its range, or ``choose`` is neither.
    """
    genuine, impostor = _sides(scores, same)
    if choose not in ("nearest", "at most"):
        raise ConfigError(f"choose is {choose!r}; expected 'nearest' or 'at most'")
    for far in fars:
        if not 0 <= far <= 1:
            raise ConfigError(f"a false acceptance rate is {far}; expected a fraction in [0, 1]")
    levels = np.unique(np.concatenate([genuine, impostor]))[::-1]
    accepted = len(impostor) - np.searchsorted(impostor, levels)
    rates = np.concatenate([[0], accepted]) / len(impostor)
    found = []
    for far in fars:
        if choose == "at most":
            place = int(np.searchsorted(rates, far, side="right")) - 1
        else:
            distance = np.abs(rates - far)
            place = len(rates) - 1 - int(np.argmin(distance[::-1]))
        threshold = np.inf if place == 0 else float(levels[place - 1])
        tar = float((len(genuine) - np.searchsorted(genuine, threshold)) / len(genuine))
        found.append(Acceptance(tar, float(rates[place]), threshold))
    return found


def fold_accuracy(scores: ArrayLike, same: ArrayLike, folds: int = 10) -> FoldAccuracy:
    """Verification accuracy: the threshold is chosen on all folds but one, and measured on that one, for each in turn.

    Folds are consecutive pairs, of equal size up to one, as the files of LFW, CFP, AgeDB, CALFW and CPLFW list them.
    Thresholds are squared distances from 0 to 4 in steps of 0.01; of several as good the smallest is taken. A pair is
    accepted when its distance ``2 - 2 * cosine`` lies below.

    Source: Labeled Faces in the Wild, 2007, view 2, with the thresholds of published evaluations.

    Args:
        scores: Cosine of each pair, in the file's order. [pairs]
        same: Whether the pair is of one identity. [pairs]
        folds: At least 2, at most as many as there are pairs.

    Raises:
        DataError: Shapes differ, a score is not finite, or there is no genuine or no impostor pair.
        ConfigError: There are more folds than pairs, or fewer than 2.
    """
    _sides(scores, same)
    truth = np.asarray(same, bool)
    if not 2 <= folds <= len(truth):
        raise ConfigError(f"{folds} folds of {len(truth)} pairs; expected at least 2, and a pair in each")
    distances = 2 - 2 * np.asarray(scores, np.float64)
    right = (distances[None] < np.arange(0, 4, 0.01)[:, None]) == truth[None]
    sizes = np.full(folds, len(truth) // folds)
    sizes[: len(truth) % folds] += 1
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    per_fold = np.add.reduceat(right, starts, axis=1, dtype=np.int64)
    best = np.argmax(per_fold.sum(axis=1, keepdims=True) - per_fold, axis=0)
    accuracies = per_fold[best, np.arange(folds)] / sizes
    return FoldAccuracy(float(accuracies.mean()), float(accuracies.std()), tuple(accuracies.tolist()))


def _sides(scores: ArrayLike, same: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of genuine and of impostor pairs, each ascending."""
    values, truth = np.asarray(scores, np.float64), np.asarray(same)
    if values.ndim != 1 or values.shape != truth.shape or truth.dtype.kind not in "bui":
        raise DataError(
            f"scores are of shape {values.shape} and same is {truth.dtype} of shape {truth.shape}; expected one score "
            f"and one truth value per pair"
        )
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} scores are not finite; embed those images again")
    truth = truth.astype(bool)
    if truth.all() or not truth.any():
        raise DataError(f"{int(truth.sum())} of {len(truth)} pairs are of one identity; verification needs both kinds")
    return np.sort(values[truth]), np.sort(values[~truth])
