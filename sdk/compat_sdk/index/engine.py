"""What an approximate index asks of a native library, and which library answers for which kind."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import GalleryError
from compat_sdk.index.options import Options

ROWS_AT_ONCE = 65536
"""Rows that are copied at a time on their way into a library."""


class Engine(Protocol):
    """A native index. It sees checked vectors only, each once, and one call at a time.

    Attributes:
        options: How it was built, every one of them a number that was used.
        rounded: Whether its scores are those of shortened rows.
    """

    options: Options
    rounded: bool

    def add(self, vectors: NDArray[np.float32], rows: NDArray[np.int64], threads: int | None) -> None:
        """Take rows of ``[n, dim]`` in, under their numbers."""
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, threads: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return row numbers, -1 where none was found, and scores, ``[q, k]`` in any order."""
        ...

    def to_bytes(self) -> bytes:
        """The content of its file."""
        ...


def new_engine(kind: str, dim: int, rows: int, options: Options) -> Engine:
    """Make an empty index for this many rows at most.

    Raises:
        ConfigError: An option does not fit the dimension or the rows.
        MissingExtraError: The library is not installed.
    """
    return _module(kind).new(dim, rows, options)


def read_engine(kind: str, content: bytes, dim: int, rows: int, options: Options) -> Engine:
    """Read what `Engine.to_bytes` wrote; none of these libraries can be trusted with any other file.

    Args:
        kind: One of `compat_sdk.index.options.KINDS`.
        content: Whose digest was compared with a note of what was built here, or with a signature.
        dim: Dimension that it must have.
        rows: Rows that it must hold.
        options: How it was built, and is to be searched.

    Raises:
        GalleryError: Not such an index, or one over other vectors.
        MissingExtraError: The library is not installed.
    """
    return _module(kind).read(content, dim, rows, options)


def not_the_gallerys(kind: str, dim: int, rows: int, found: str) -> GalleryError:
    """The error for an index over other vectors."""
    return GalleryError(
        f"found a {kind} index with {found} unlike the gallery's ({rows} rows of dimension {dim}, inner product); "
        f"rebuild the index"
    )


class _Module(Protocol):
    def new(self, dim: int, rows: int, options: Options) -> Engine: ...

    def read(self, content: bytes, dim: int, rows: int, options: Options) -> Engine: ...


def _module(kind: str) -> _Module:
    from compat_sdk.index import faiss_graph, faiss_lists, hnswlib_graph, usearch_graph

    found: dict[str, _Module] = {
        "usearch": usearch_graph,
        "hnswlib": hnswlib_graph,
        "faiss-hnsw": faiss_graph,
        "faiss-ivfpq": faiss_lists,
    }
    return found[kind]
