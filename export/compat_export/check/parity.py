"""How far an exported graph strays from PyTorch, measured through the engine that will run it.

A converter can be wrong without failing, and no reader of graphs notices a changed weight; so every export is
compared on real images, alone and in a batch, before it is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.self_test import MIN_COSINE
from compat_sdk.engines import Engine
from compat_sdk.errors import CheckFailedError

_MAX_ABS_DIFFERENCE = 1e-4
"""Largest difference allowed in one coordinate of a unit vector at fp32. Float32 engines stay below 1e-6.

The stricter of the two bounds of fp32, for the machine that exports alone: another may compute in 16 bits.
"""
_BATCHES = (1, 5)
"""Batch sizes that parity is measured at: one query, and one that no power of two divides."""


@dataclass(frozen=True)
class Parity:
    """Differences between two sets of embeddings of the same inputs.

    Attributes:
        max_abs_difference: Over all inputs and coordinates; at least 0, NaN when either set holds NaN.
        mean_cosine: Mean over inputs, in [-1, 1].
        worst_cosine: Minimum over inputs, in [-1, 1].
        rows: How many were compared, all batch sizes together.
    """

    max_abs_difference: float
    mean_cosine: float
    worst_cosine: float
    rows: int

    def to_json(self) -> dict[str, float | int]:
        """The attributes as a JSON object."""
        return asdict(self)


def compare_embeddings(reference: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    """Parity of two sets of embeddings, row by row.

    Args:
        reference: What PyTorch gives, float32 ``[n, dim]``, n at least 1.
        found: What the exported graph gives, same shape.

    Returns:
        The differences. A zero or non-finite row counts as a cosine of NaN, which no check passes.

    Raises:
        CheckFailedError: The shapes differ, or there is nothing to compare.
    """
    if reference.shape != found.shape or reference.ndim != 2 or len(reference) == 0:
        raise CheckFailedError(
            f"the graph returned embeddings of shape {list(found.shape)}, PyTorch {list(reference.shape)}; "
            f"expected equal shapes [n, dim] with n at least 1; export again"
        )
    a, b = reference.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        difference = np.abs(a - b).max()
    return Parity(float(difference), float(cosines.mean()), float(cosines.min()), len(a))


def measure_parity(
    engine: Engine,
    inputs: Sequence[NDArray[np.float32]],
    reference: NDArray[np.float32],
    batches: Sequence[int] = _BATCHES,
) -> Parity:
    """Parity of an engine's output with a reference, every row at every batch size.

    Args:
        engine: Holds the exported graph.
        inputs: One float32 array per input of the graph: prepared images ``[n, 3, s, s]``, or vectors ``[n, ...]``.
        reference: PyTorch's unit embeddings of them, float32 ``[n, dim]``.
        batches: Batch sizes, each at least 1; rows repeat to fill the last batch.

    Returns:
        The differences over all batch sizes together.

    Raises:
        CheckFailedError: A shape differs.
    """
    expected, found = [], []
    for batch in batches:
        # Full batches only: a rest of 3 would leave the asked-for size untested.
        order = np.arange(-(-len(reference) // batch) * batch) % len(reference)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            found.append(engine.run(*(np.ascontiguousarray(array[rows]) for array in inputs)))
            expected.append(reference[rows])
            if found[-1].shape != expected[-1].shape:
                return compare_embeddings(expected[-1], found[-1])  # raises, with both shapes
    return compare_embeddings(np.concatenate(expected), np.concatenate(found))


def require_parity(parity: Parity, what: str, *, precision: str = "fp32", min_cosine: float | None = None) -> None:
    """Return only if the graph agrees with PyTorch as closely as its precision allows.

    Args:
        parity: As measured.
        what: What was exported, for the message.
        precision: Number format of the graph.
        min_cosine: Smallest cosine allowed; by default that of the precision, as in every self-test.

    Raises:
        CheckFailedError: A cosine is below the bound, at fp32 a difference is above 1e-4, or either is
            NaN.
    """
    bound = MIN_COSINE[precision] if min_cosine is None else min_cosine
    largest = _MAX_ABS_DIFFERENCE if precision == "fp32" else 2.0
    # Written so that NaN fails.
    if parity.max_abs_difference <= largest and parity.worst_cosine >= bound:
        return
    exact = f" (at most {_MAX_ABS_DIFFERENCE:g})" if precision == "fp32" else ""
    advice = (
        "check that the run is intact, then try the tested converter versions in constraints.txt"
        if precision in ("fp32", "fp16")
        else "choose a higher precision, give int8-static images of the kind that will be searched, or lower the bound"
    )
    raise CheckFailedError(
        f"{what} disagrees with PyTorch on {parity.rows} inputs: largest difference "
        f"{parity.max_abs_difference:.3g}{exact}, worst cosine {parity.worst_cosine:.6f} (at least {bound:g}); nothing "
        f"was written; {advice}"
    )
