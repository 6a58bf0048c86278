"""faiss's flat scans as the first pass of an exact search: on the processor, and on a CUDA device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.index import native
from compat_sdk.index.parts import Parts
from compat_sdk.index.scan import Candidates, margin, merged

_FEW_QUERIES = 4
_MOST_ON_DEVICE = 2048  # faiss selects no more than this on a device


class OnProcessor:
    """Of few queries; many go through numpy's product, which is faster than as many scans."""

    def __init__(self, parts: Parts) -> None:
        """Keep the rows, without a copy.

        Raises:
            MissingExtraError: faiss is not installed.
        """
        self._faiss, self._parts = native.faiss(), parts

    def candidates(self, queries: NDArray[np.float32], k: int, spare: int) -> Candidates | None:
        """Return the ``k + spare`` best rows by faiss's scores, or None for more than 4 queries."""
        if len(queries) > _FEW_QUERIES:
            return None
        shares = [
            self._in_array(start, array, queries, k + spare)
            for start, array in zip(self._parts.starts, self._parts.arrays, strict=False)
            if len(array)
        ]
        return merged(shares, k, margin(self._parts.dim))

    def _in_array(
        self, start: int, array: NDArray[np.float32], queries: NDArray[np.float32], wanted: int
    ) -> Candidates:
        scores, rows = self._faiss.knn(queries, array, min(wanted, len(array)), metric=self._faiss.METRIC_INNER_PRODUCT)
        return _filled(rows + start, scores, wanted)


class OnDevice:
    """All rows on the first CUDA device. Written after faiss's documentation; no test of ours has run it there."""

    def __init__(self, parts: Parts) -> None:
        """Copy the rows to the device.

        Raises:
            MissingExtraError: faiss is not installed.
            ConfigError: It is a build for processors alone, or it finds no CUDA device.
        """
        faiss = native.faiss_with_device()
        self._dim, self._rows = parts.dim, len(parts)
        self._resources: Any = faiss.StandardGpuResources()  # kept: the index uses it
        self._index = faiss.GpuIndexFlatIP(self._resources, parts.dim)
        for array in parts.arrays:
            if len(array):
                self._index.add(array)

    def candidates(self, queries: NDArray[np.float32], k: int, spare: int) -> Candidates:
        """Return the ``k + spare`` best rows by the device's scores.

        Raises:
            ConfigError: More hits are wanted than faiss selects on a device.
        """
        if k + spare > _MOST_ON_DEVICE:
            raise ConfigError(
                f"k is {k}, expected at most {_MOST_ON_DEVICE - spare} on a CUDA device; search without faiss-gpu"
            )
        scores, rows = self._index.search(queries, min(k + spare, self._rows))
        return merged([_filled(rows, scores, k + spare)], k, margin(self._dim))


def _filled(rows: NDArray[np.int64], scores: NDArray[np.float32], width: int) -> Candidates:
    """Candidates of this width, with nothing where faiss found fewer."""
    missing = ((0, 0), (0, width - rows.shape[1]))
    rows = np.pad(rows.astype(np.int64), missing, constant_values=-1)
    scores = np.pad(scores.astype(np.float32), missing, constant_values=-np.inf)
    scores[rows < 0] = -np.inf
    return Candidates(rows, scores, np.full(len(rows), -np.inf, np.float32))
