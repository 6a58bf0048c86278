"""What a self-test compares, stage by stage: pixels, the input of the graph, vectors, and the order of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.graph import Graph
from compat_sdk.errors import CheckFailedError

MIN_COSINE: Mapping[str, float] = {
    "fp32": 0.999,
    "fp16": 0.999,
    "int8": 0.99,
    "palette8": 0.99,
    "palette6": 0.97,
    "int8-static": 0.9,
    "int4": 0.9,
    "palette4": 0.9,
}
"""Smallest cosine to the trained model's vector, by precision: of an export and of every self-test after it."""
_MOST_OFF = {".jpg": 4, ".png": 1}
"""Levels by which a pixel may differ: what is lossy is decoded a little otherwise by another library."""
_MEAN_OFF = {".jpg": 0.5, ".png": 0.05}
"""Levels by which pixels may differ in the mean of a picture."""
_BETTER = 0.75
"""Share of the right order's mean error below which another order of the channels is the right one."""
_INPUT_OFF = 2e-5
"""Share of the largest statistic by which one may differ: float32 sums in another order."""


@dataclass(frozen=True)
class SelfTest:
    """How this machine's vectors of the golden inputs differ from the trained model's.

    Attributes:
        min_cosine: Worst cosine similarity over the rows, 1 at best.
        max_abs_difference: Largest difference of any number of any vector.
        rows: Golden images, or golden vectors of a transform, in the bundle.
        bound: Smallest cosine that was allowed.
        pictures: Rows that were made from the bytes of a picture; 0 for a transform, and for a bundle of 0.7 or before,
            whose test is the weaker one of prepared pixels.
    """

    min_cosine: float
    max_abs_difference: float
    rows: int
    bound: float
    pictures: int = 0


def min_cosine(graphs: Sequence[Graph]) -> float:
    """Return the smallest cosine allowed of the one that these graphs have in common: the lowest of theirs.

    A graph's own is what it was published with, else that of its precision; of a precision that is not in `MIN_COSINE`
    that of fp32.
    """
    return min(
        MIN_COSINE.get(graph.precision, MIN_COSINE["fp32"]) if graph.min_cosine is None else graph.min_cosine
        for graph in graphs
    )


def input_statistics(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean and standard deviation of each channel of prepared images, float32 ``[n, 3, 2]``.

    Args:
        inputs: float32 ``[n, 3, size, size]``.
    """
    values = inputs.reshape(*inputs.shape[:2], -1).astype(np.float64)
    return np.stack([values.mean(2), values.std(2)], 2).astype(np.float32)


def compare_pixels(found: NDArray[np.uint8], expected: NDArray[np.uint8], names: Sequence[str], bundle: object) -> None:
    """Compare what pictures become here with what they became for the trained model.

    Args:
        found: uint8 ``[n, size, size, 3]``, one row per picture.
        expected: The same of the trained model.
        names: Of the pictures, inside the bundle.
        bundle: Where the bundle is, for the message.

    Raises:
        CheckFailedError: A pixel, or the mean over a picture, differs by more than decoders do.
    """
    for name, ours, theirs in zip(names, found, expected, strict=True):
        off, suffix = np.abs(ours.astype(np.int16) - theirs), name[-4:]
        if off.max() > _MOST_OFF[suffix] or off.mean() > _MEAN_OFF[suffix]:
            raise CheckFailedError(
                f"{name} of {bundle} becomes pixels that differ from the trained model's by up to {int(off.max())} "
                f"levels, {off.mean():.2f} in the mean, expected at most {_MOST_OFF[suffix]} and {_MEAN_OFF[suffix]}: "
                f"decoding or preprocessing is another one; export the model again"
            )


def compare_inputs(found: NDArray[np.float32], expected: NDArray[np.float32], bundle: object) -> None:
    """Compare statistics of a graph's input with those of the trained model's, of the same pixels.

    Args:
        found: float32 ``[m, 3, 2]``, see `input_statistics`.
        expected: The same of the trained model.
        bundle: Where the bundle is, for the message.

    Raises:
        CheckFailedError: One differs by more than rounding.
    """
    off = float(np.abs(found - expected).max())
    if not off <= _INPUT_OFF * float(np.abs(expected).max()):
        raise CheckFailedError(
            f"golden images of {bundle} become an input whose mean or deviation of a channel differs from the trained "
            f"model's by {off:.2g}: mean, std, the order of the channels or what the graph takes is another one; "
            f"export the model again"
        )


def compare_golden(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    engine: str,
    bundle: object,
    *,
    bound: float,
    pictures: int = 0,
) -> SelfTest:
    """Compare an engine's vectors of the golden inputs with the trained model's.

    Args:
        found: float32 ``[m, dim]``, unit rows.
        expected: float32 ``[m, dim]``.
        engine: Name of the engine, for the message.
        bundle: Where the bundle is, for the message.
        bound: Smallest cosine allowed, see `min_cosine`.
        pictures: Rows that were made from a picture's bytes.

    Raises:
        CheckFailedError: A cosine similarity is below the bound.
    """
    lengths = np.linalg.norm(expected, axis=1)
    cosines = np.einsum("ij,ij->i", found, expected) / np.maximum(lengths, np.finfo(np.float32).tiny)
    difference = float(np.abs(found - expected).max())
    result = SelfTest(float(cosines.min()), difference, len(expected), bound, pictures)
    if not result.min_cosine >= bound:
        raise CheckFailedError(
            f"{engine} turns golden row {int(cosines.argmin())} of {bundle} into a vector with cosine "
            f"{result.min_cosine:.6f} to the trained model's, expected at least {bound:g}; use another "
            f"engine or export the model again"
        )
    return result


def compare_orders(
    right: NDArray[np.float32], others: Sequence[NDArray[np.float32]], expected: NDArray[np.float32], what: str
) -> None:
    """Refuse a graph that does better with the channels of the golden pictures in another order.

    A bound of 0.9 lets through what mixes the channels up and has little else to say of colour. Whatever rounding
    costs, it costs in every order: of right graphs the best order had 1.01 times the right one's error, and a
    mixed-up one that does harm is far better in the order that undoes it.

    Args:
        right: float32 ``[m, dim]``, unit rows, the graph's vectors of the pictures.
        others: The same of the pictures with their channels in each other order.
        expected: The trained model's vectors of the pictures as they are.
        what: Engine and bundle, for the message.

    Raises:
        CheckFailedError: One of the other orders has less than three quarters of the right one's mean error.
    """

    def error(found: NDArray[np.float32]) -> float:
        return float(1 - np.einsum("ij,ij->i", found, expected).mean())

    best, own = min(map(error, others)), error(right)
    if best < _BETTER * own:
        raise CheckFailedError(
            f"{what}: golden pictures with their channels in another order come closer to the trained model's vectors "
            f"(mean cosine {1 - best:.6f}) than as they are ({1 - own:.6f}); the graph or the engine mixes up the "
            f"channels: export the model again"
        )
