"""How much two models' embeddings of the same images have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import VectorError


def linear_cka(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Linear centred kernel alignment of two sets of embeddings of the same images.

    It does not change when one set is rotated, mirrored or scaled. Side-information whose alignment with the old
    embedding is low has more to add to it.

    Source: Kornblith et al., ICML 2019, https://arxiv.org/abs/1905.00414, section 3 (the feature form of Eq. 4);
    FCT, https://arxiv.org/abs/2112.02805, section 5.3.

    Args:
        first: ``[n, d]``, finite, not all rows the same.
        second: ``[n, e]`` of the same images in the same order, likewise.

    Returns:
        In [0, 1]; 1 when one is a rotation of the other.

    Raises:
        VectorError: The two differ in length, or one does not vary.
    """
    if len(first) != len(second) or not len(first):
        raise VectorError(f"CKA compares embeddings of the same images, found {len(first)} and {len(second)} rows")
    x, y = (np.asarray(rows, np.float64) - np.mean(rows, 0, dtype=np.float64) for rows in (first, second))
    own = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    if not np.isfinite(own) or own <= 1e-12 * len(first):
        raise VectorError("CKA is defined for embeddings that are finite and vary; in one of the two all rows agree")
    return float(np.linalg.norm(y.T @ x) ** 2 / own)
