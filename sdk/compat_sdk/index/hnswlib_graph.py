"""A navigable small-world graph by hnswlib, the library of the method's authors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError, GalleryError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.index import native
from compat_sdk.index.engine import ROWS_AT_ONCE, not_the_gallerys
from compat_sdk.index.header import seal, unseal
from compat_sdk.index.options import GraphOptions, Options


def new(dim: int, rows: int, options: Options) -> _Hnswlib:
    """Make an empty graph; see `compat_sdk.index.engine.new_engine`."""
    assert isinstance(options, GraphOptions)
    graph = native.hnswlib().Index(space="ip", dim=dim)
    graph.init_index(max_elements=rows, M=options.connectivity, ef_construction=options.expansion_add, random_seed=100)
    return _Hnswlib(graph, dim, options)


def read(content: bytes, dim: int, rows: int, options: Options) -> _Hnswlib:
    """Read a graph; see `compat_sdk.index.engine.read_engine`.

    hnswlib reads files by name alone, and takes the dimension that it is told: with a wrong one it reads beyond its
    memory. So the dimension stands in a header of ours, and the bytes that were checked go to a file of this process.
    """
    content = unseal("hnswlib", content, dim, rows)
    module = native.hnswlib()
    with tempfile.TemporaryDirectory(prefix="compat-sdk-") as folder:  # which others cannot enter
        path = Path(folder, "graph")
        try:
            path.write_bytes(content)
            graph = module.Index(space="ip", dim=dim)
            graph.load_index(str(path), max_elements=rows)
        except OSError as error:
            raise_if_refused(path, error, "write")
            raise
        except RuntimeError as error:
            raise GalleryError(f"found a file that hnswlib cannot read ({error}); rebuild the index") from error
    if graph.element_count != rows:
        raise not_the_gallerys("hnswlib", dim, rows, f"{graph.element_count} rows")
    return _Hnswlib(graph, dim, options)


class _Hnswlib:
    rounded = False

    def __init__(self, graph: Any, dim: int, options: Options) -> None:
        self._graph, self._dim, self.options = graph, dim, options

    def add(self, vectors: NDArray[np.float32], rows: NDArray[np.int64], threads: int | None) -> None:
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            self._graph.add_items(vectors[some], some, num_threads=threads or -1)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, threads: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._graph.set_ef(max(effort, k))
        try:
            keys, distances = self._graph.knn_query(queries, k, num_threads=threads or -1)
        except RuntimeError:  # of one query it found fewer than k, and it does not say of which
            return np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
        return keys.astype(np.int64), 1 - distances

    def to_bytes(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="compat-sdk-") as folder:
            path = Path(folder, "graph")
            try:
                self._graph.save_index(str(path))
                content = path.read_bytes()
            except OSError as error:
                raise_if_refused(path, error, "write")
                raise
        if len(content) != self._graph.index_file_size():  # hnswlib does not look whether its writes succeed
            raise CompatError(
                f"hnswlib wrote {len(content)} of {self._graph.index_file_size()} bytes to {path.parent.parent}; make "
                f"room there, or set TMPDIR to a folder with more"
            )
        return seal("hnswlib", content, self._dim, self._graph.element_count)
