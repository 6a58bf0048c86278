"""What an index may see: checks that run before any engine does.

A handful of NaN or all-zero rows is enough to ruin a graph index for all the others, and no engine refuses
them by itself.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, VectorError

NORM_TOLERANCE = 1e-3
"""How far the length of a unit vector may be from 1."""

_ROWS_PER_CHECK = 65536


def check_vectors(vectors: object, dim: int | None = None, *, unit: bool = True) -> NDArray[np.float32]:
    """Return the vectors as a C-contiguous float32 array, or say which rows no index may see.

    Args:
        vectors: ``[n, dim]`` float32; any memory layout.
        dim: Required dimension; any when None.
        unit: Also require every norm to be within 1e-3 of 1.

    Returns:
        ``[n, dim]``, the same memory when it was contiguous already.

    Raises:
        VectorError: Wrong type, shape or dimension, or rows that hold NaN or infinity, are all zero, or
            (with ``unit``) are not of unit norm. ``rows`` lists every offending row.
    """
    if not isinstance(vectors, np.ndarray):
        raise VectorError(f"found {type(vectors).__name__}, expected a float32 array of shape [n, dim]")
    if vectors.dtype != np.float32:
        raise VectorError(f"found dtype {vectors.dtype}, expected float32; convert with .astype(numpy.float32)")
    if vectors.ndim != 2:
        raise VectorError(f"found shape {list(vectors.shape)}, expected [n, dim]; a single vector is vectors[None, :]")
    if vectors.shape[1] == 0 or (dim is not None and vectors.shape[1] != dim):
        expected = "at least 1" if dim is None else str(dim)
        raise VectorError(f"found vectors of dimension {vectors.shape[1]}, expected {expected}")
    vectors = np.ascontiguousarray(vectors)
    problems: dict[str, list[int]] = {}
    for start in range(0, len(vectors), _ROWS_PER_CHECK):
        _find_bad_rows(vectors[start : start + _ROWS_PER_CHECK], start, unit, problems)
    if problems:
        parts = [f"{len(rows)} {what} (rows {_some(rows)})" for what, rows in problems.items()]
        rows = sorted(row for found in problems.values() for row in found)
        raise VectorError(
            f"{len(rows)} of {len(vectors)} vectors cannot be indexed: {'; '.join(parts)}; expected finite "
            f"vectors{' of unit norm' if unit else ''}; drop these rows or embed their images again",
            rows,
        )
    return vectors


def check_k(k: object) -> int:
    """Return ``k`` as an int of at least 1.

    Raises:
        ConfigError: ``k`` is not an integer, or is below 1.
    """
    try:
        number = operator.index(k)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(k, bool) or number < 1:
        raise ConfigError(f"k is {k!r}, expected an integer of at least 1")
    return number


def _find_bad_rows(vectors: NDArray[np.float32], first_row: int, unit: bool, problems: dict[str, list[int]]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        suspect = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    for row in suspect:
        if not np.isfinite(vectors[row]).all():
            problem = "with NaN or infinity"
        elif norms[row] == 0:
            problem = "of norm zero"
        elif unit:
            problem = "not of unit norm"
        else:
            continue
        problems.setdefault(problem, []).append(first_row + int(row))


def _some(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:10])
    return shown if len(rows) <= 10 else f"{shown}, ..."
