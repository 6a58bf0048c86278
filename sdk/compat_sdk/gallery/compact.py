"""Stored vectors in fewer bytes: 8-bit codes or half floats, and back to unit vectors.

Side-information waits for years beside a gallery before an upgrade reads it, so its size is a running cost:
128 float32 numbers take 512 bytes per image, their 8-bit codes 128. A code keeps the direction alone; nothing else
is stored, because the vectors have unit norm.

Source: what FCT (https://arxiv.org/abs/2112.02805, figure 3) counts as its storage requirement, made smaller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.unit import check_rows

Vectors = NDArray[np.float32]


def to_int8(vectors: Vectors) -> NDArray[np.int8]:
    """8-bit codes of vectors: each vector scaled so that its largest number is 127 or -127, and rounded.

    Args:
        vectors: float32 ``[n, dim]``, finite, no row of zeros.

    Returns:
        int8 ``[n, dim]`` in [-127, 127]. The scale is not kept: `from_int8` restores the direction at unit norm.

    Raises:
        VectorError: A row is zero or not finite; ``rows`` names such rows.
    """
    largest = np.abs(_directed(vectors)).max(axis=1, keepdims=True)
    codes: NDArray[np.int8] = np.rint(vectors * (np.float32(127) / largest)).astype(np.int8)
    return codes


def from_int8(codes: NDArray[np.int8]) -> Vectors:
    """Unit vectors from 8-bit codes.

    Args:
        codes: Output of `to_int8`.

    Returns:
        float32 ``[n, dim]``, unit norm. Each differs from its original by half a step of 1/127 of its largest number
        at most, before both are scaled to unit norm.

    Raises:
        VectorError: A row is zero, which no code of a vector is.
    """
    return _unit(codes.astype(np.float32))


def to_float16(vectors: Vectors) -> NDArray[np.float16]:
    """Half floats ``[n, dim]`` of unit vectors: 11 significant bits each.

    Raises:
        VectorError: A row is zero or not finite; ``rows`` names such rows.
    """
    return _directed(vectors).astype(np.float16)


def from_float16(halves: NDArray[np.float16]) -> Vectors:
    """Unit vectors, float32 ``[n, dim]``, from half floats.

    Raises:
        VectorError: A row is zero or not finite; ``rows`` names such rows.
    """
    return _unit(halves.astype(np.float32))


def _directed(vectors: Vectors) -> Vectors:
    what = "vectors have no direction to store"
    check_rows(vectors, what, "embed those images again or leave them out", unit=False)
    return vectors


def _unit(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(_directed(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
