"""A navigable small-world graph by faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.index import faiss_file, native
from compat_sdk.index.engine import ROWS_AT_ONCE
from compat_sdk.index.options import GraphOptions, Options

_KIND = "faiss-hnsw"


def new(dim: int, rows: int, options: Options) -> _FaissGraph:
    """Make an empty graph; see `compat_sdk.index.engine.new_engine`."""
    assert isinstance(options, GraphOptions)
    faiss = native.faiss()
    graph = faiss.IndexHNSWFlat(dim, options.connectivity, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = options.expansion_add
    numbered = faiss.IndexIDMap(graph)
    numbered.own_fields = True
    graph.this.disown()
    return _FaissGraph(numbered, dim, options)


def read(content: bytes, dim: int, rows: int, options: Options) -> _FaissGraph:
    """Read a graph; see `compat_sdk.index.engine.read_engine`."""
    return _FaissGraph(faiss_file.read(_KIND, content, dim, rows, native.faiss().IndexIDMap), dim, options)


class _FaissGraph:
    rounded = False

    def __init__(self, numbered: Any, dim: int, options: Options) -> None:
        self._numbered, self._dim, self.options = numbered, dim, options
        self._graph = native.faiss().downcast_index(numbered.index).hnsw

    def add(self, vectors: NDArray[np.float32], rows: NDArray[np.int64], threads: int | None) -> None:
        with faiss_file.on_threads(threads):
            for first in range(0, len(rows), ROWS_AT_ONCE):
                some = rows[first : first + ROWS_AT_ONCE]
                self._numbered.add_with_ids(vectors[some], some)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, threads: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._graph.efSearch = max(effort, k)
        with faiss_file.on_threads(threads):
            scores, rows = self._numbered.search(queries, k)
        return rows, np.where(rows < 0, -np.inf, scores).astype(np.float32)

    def to_bytes(self) -> bytes:
        return faiss_file.to_bytes(_KIND, self._numbered, self._dim)
