"""Inverted lists of short codes by faiss (IVF-PQ): an eighth to a sixteenth of the memory of a graph."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.index import faiss_file, native
from compat_sdk.index.engine import ROWS_AT_ONCE
from compat_sdk.index.options import ListOptions, Options
from compat_sdk.spread import spread

_KIND = "faiss-ivfpq"
_CODE_BITS = 8
_ROWS_PER_CELL = 64
"""Rows that each centre is trained on at most; faiss asks for 39 at least."""


def new(dim: int, rows: int, options: Options) -> _FaissLists:
    """Make empty lists; see `compat_sdk.index.engine.new_engine`."""
    assert isinstance(options, ListOptions)
    if options.code_bytes and dim % options.code_bytes:
        raise ConfigError(f"code_bytes is {options.code_bytes}, expected a divisor of the dimension, {dim}")
    shortest = next(size for size in range(max(1, dim // 4), 0, -1) if dim % size == 0)
    options = replace(
        options,
        lists=min(max(1, rows), options.lists or round(4 * math.sqrt(rows)) or 1),
        code_bytes=options.code_bytes or shortest,
    )
    faiss = native.faiss()
    cells = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFPQ(cells, dim, options.lists, options.code_bytes, _CODE_BITS, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    cells.this.disown()
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, _ROWS_PER_CELL * 4
    return _FaissLists(index, dim, options)


def read(content: bytes, dim: int, rows: int, options: Options) -> _FaissLists:
    """Read lists; see `compat_sdk.index.engine.read_engine`."""
    return _FaissLists(faiss_file.read(_KIND, content, dim, rows, native.faiss().IndexIVFPQ), dim, options)


class _FaissLists:
    rounded = True

    def __init__(self, index: Any, dim: int, options: Options) -> None:
        self._index, self._dim, self.options = index, dim, options

    def add(self, vectors: NDArray[np.float32], rows: NDArray[np.int64], threads: int | None) -> None:
        with faiss_file.on_threads(threads):
            if not self._index.is_trained:
                self._index.train(self._sample(vectors, rows))
            for first in range(0, len(rows), ROWS_AT_ONCE):
                some = rows[first : first + ROWS_AT_ONCE]
                self._index.add_with_ids(vectors[some], some)

    def _sample(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows to train on: a centre of each list, and 256 of each byte of a code, need as many; few are repeated."""
        wanted = _ROWS_PER_CELL * max(self._index.nlist, 1 << _CODE_BITS)
        some = rows[spread(len(rows), wanted)]
        return vectors[np.resize(some, max(len(some), 1 << _CODE_BITS))]

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, threads: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._index.nprobe = min(effort, self._index.nlist)
        with faiss_file.on_threads(threads):
            scores, rows = self._index.search(queries, k)
        return rows, np.where(rows < 0, -np.inf, scores).astype(np.float32)

    def to_bytes(self) -> bytes:
        return faiss_file.to_bytes(_KIND, self._index, self._dim)
