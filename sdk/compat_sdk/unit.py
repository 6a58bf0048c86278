"""Rows that are finite and of unit norm: the one check of what comes in, and the one division of what goes out.

A handful of NaN or all-zero rows is enough to ruin a graph index for all the others, and no engine refuses them by
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import VectorError

_NORM_TOLERANCE = 1e-3
"""How far the length of a unit vector may be from 1."""

_ROWS_PER_BLOCK = 65536


def check_rows(vectors: NDArray[np.float32], what: str, advice: str, *, unit: bool = True) -> None:
    """Return only if every row is finite and of unit norm.

    Args:
        vectors: float32 ``[n, dim]``, any memory layout; may be memory-mapped.
        what: What the rows are, for the message: ``vectors``, or ``images have no embedding``.
        advice: What to do, for the message.
        unit: Norms within 1e-3 of 1; otherwise any norm that gives a direction, above 0 and finite.

    Raises:
        VectorError: There are other rows. ``rows`` lists every one of them, the message the first ten of each kind.
    """
    problems: dict[str, list[int]] = {}
    for start, norms in _norms(vectors):
        with np.errstate(invalid="ignore"):
            good = np.abs(norms - 1) <= _NORM_TOLERANCE if unit else (norms > 0) & np.isfinite(norms)
        bad = np.flatnonzero(~good)
        finite, zero = np.isfinite(vectors[start + bad]).all(axis=1), norms[bad] == 0
        kinds = {
            "with NaN or infinity": ~finite,
            "of norm zero": zero,
            "not of unit norm" if unit else "too long": finite & ~zero,
        }
        for problem, these in kinds.items():
            if these.any():
                problems.setdefault(problem, []).extend((start + bad[these]).tolist())
    if problems:
        parts = "; ".join(f"{len(rows)} {problem} (rows {_some(rows)})" for problem, rows in problems.items())
        rows = sorted(row for found in problems.values() for row in found)
        expected = "finite vectors of unit length" if unit else "finite vectors that are not zero"
        raise VectorError(f"{len(rows)} of {len(vectors)} {what}: {parts}; expected {expected}; {advice}", rows)


def unit_rows(vectors: NDArray[np.float32], what: str, advice: str) -> NDArray[np.float32]:
    """Return each row divided by its length: graphs of low precision, and rounding, leave lengths slightly off 1.

    Args:
        vectors: float32 ``[n, dim]``.
        what: What the rows are, for the message: ``vectors``, or ``images have no embedding``.
        advice: What to do, for the message.

    Returns:
        float32 ``[n, dim]``, C-contiguous.

    Raises:
        VectorError: A row is not finite or is zero; ``rows`` lists every such row.
    """
    check_rows(vectors, what, advice, unit=False)
    result = np.empty(vectors.shape, np.float32)
    for start, norms in _norms(vectors):
        block = slice(start, start + len(norms))
        np.divide(vectors[block], norms[:, None], out=result[block])
    return result


def _norms(vectors: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the first row of each block of rows, and the lengths of its rows."""
    for start in range(0, len(vectors), _ROWS_PER_BLOCK):
        block = vectors[start : start + _ROWS_PER_BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            yield start, np.sqrt(np.einsum("nd,nd->n", block, block))


def _some(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:10])
    return shown if len(rows) <= 10 else f"{shown}, ..."
