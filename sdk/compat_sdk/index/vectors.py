"""What an index may see: checks that run before any engine does."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, VectorError
from compat_sdk.unit import check_rows


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
    check_rows(vectors, "vectors cannot be indexed", "drop these rows or embed their images again", unit=unit)
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


def check_among(among: object, rows: int) -> NDArray[np.bool_]:
    """Return which rows may be found.

    Raises:
        ConfigError: Not a bool array of one value for each of the ``rows``.
    """
    if not isinstance(among, np.ndarray) or among.dtype != np.bool_ or among.shape != (rows,):
        found = f"{among.dtype} {list(among.shape)}" if isinstance(among, np.ndarray) else type(among).__name__
        raise ConfigError(f"among is {found}, expected a bool array of {rows} values, one for each row")
    return among


def check_count(name: str, value: object, least: int = 1) -> int:
    """Return the value of a setting that counts something.

    Raises:
        ConfigError: Not an integer, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}, expected an integer of at least {least}")
    return value
