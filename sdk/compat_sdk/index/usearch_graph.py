"""A navigable small-world graph by usearch, whose wheels exist for every platform."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import GalleryError
from compat_sdk.index import native
from compat_sdk.index.engine import ROWS_AT_ONCE, not_the_gallerys
from compat_sdk.index.options import GraphOptions, Options


def new(dim: int, rows: int, options: Options) -> _Usearch:
    """Make an empty graph; see `compat_sdk.index.engine.new_engine`."""
    assert isinstance(options, GraphOptions)
    graph = native.usearch().Index(
        ndim=dim,
        metric="ip",
        dtype="f32",
        connectivity=options.connectivity,
        expansion_add=options.expansion_add,
        expansion_search=options.expansion_search,
    )
    return _Usearch(graph, options)


def read(content: bytes, dim: int, rows: int, options: Options) -> _Usearch:
    """Read a graph; see `compat_sdk.index.engine.read_engine`."""
    module = native.usearch()
    expected = {"dimensions": dim, "count_present": rows, "kind_metric": module.MetricKind.IP}
    try:
        found = module.Index.metadata(content)
        wrong = [key for key, value in expected.items() if found is None or found.get(key) != value]
        if wrong:
            raise not_the_gallerys("usearch", dim, rows, ", ".join(wrong))
        graph = module.Index(ndim=dim, metric="ip", dtype="f32")
        graph.load(content)
    except GalleryError:
        raise
    except Exception as error:  # the engine raises whatever its C++ threw
        raise GalleryError(f"found a file that usearch cannot read ({error}); rebuild the index") from error
    return _Usearch(graph, options)


class _Usearch:
    rounded = False

    def __init__(self, graph: Any, options: Options) -> None:
        self._graph, self.options = graph, options

    def add(self, vectors: NDArray[np.float32], rows: NDArray[np.int64], threads: int | None) -> None:
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            self._graph.add(some.astype(np.uint64), vectors[some], threads=threads or 0)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, threads: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._graph.expansion_search = effort
        found = self._graph.search(queries, k, threads=threads or 0)
        keys, distances = np.atleast_2d(found.keys), np.atleast_2d(found.distances)
        counts = np.atleast_1d(np.asarray(getattr(found, "counts", keys.shape[1])))
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        there = np.arange(keys.shape[1]) < counts[:, None]
        rows[:, : keys.shape[1]] = np.where(there, keys.astype(np.int64), -1)
        scores[:, : keys.shape[1]] = np.where(there, 1 - distances, -np.inf)
        return rows, scores

    def to_bytes(self) -> bytes:
        return bytes(self._graph.save())
