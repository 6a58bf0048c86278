"""faiss's indexes as bytes, and its threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from compat_sdk.errors import GalleryError
from compat_sdk.index import native
from compat_sdk.index.engine import not_the_gallerys
from compat_sdk.index.header import seal, unseal


def to_bytes(kind: str, index: Any, dim: int) -> bytes:
    """Return the content of the file of an index of this kind and dimension."""
    return seal(kind, native.faiss().serialize_index(index).tobytes(), dim, index.ntotal)


def read(kind: str, content: bytes, dim: int, rows: int, expected: Any) -> Any:
    """Return the index of a file whose digest is known.

    Raises:
        GalleryError: Not an index of this kind, or one over other vectors.
    """
    content = unseal(kind, content, dim, rows)
    faiss = native.faiss()
    try:
        index = faiss.deserialize_index(np.frombuffer(content, np.uint8))
    except RuntimeError as error:
        reason = str(error).splitlines()[0][-120:]
        raise GalleryError(f"found a file that faiss cannot read ({reason}); rebuild the index") from error
    if not isinstance(index, expected) or (index.d, index.ntotal) != (dim, rows):
        raise not_the_gallerys(kind, dim, rows, f"{type(index).__name__}, {index.ntotal} rows of dimension {index.d}")
    return index


@contextmanager
def on_threads(threads: int | None) -> Iterator[None]:
    """Let faiss use this many threads inside the block; as many as it likes when None."""
    faiss = native.faiss()
    before = faiss.omp_get_max_threads()
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
