"""Vectors that are given to a gallery: to search it, or to become rows of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import IncompatibleSpaceError, VectorError
from compat_sdk.index import check_vectors
from compat_sdk.space import Embeddings


def checked(embeddings: object, dim: int) -> NDArray[np.float32]:
    """Return the vectors of Embeddings of dimension ``dim``.

    Raises:
        VectorError: Not Embeddings, another dimension, or vectors that no index may see.
    """
    if not isinstance(embeddings, Embeddings):
        raise VectorError(
            f"found {type(embeddings).__name__}, expected Embeddings, which name their space; use "
            f"Embedder.embed(images), or Embeddings(vectors, space=...) if you know the vectors' space"
        )
    return check_vectors(embeddings.vectors, dim)


def own_vectors(embeddings: object, space: str, dim: int) -> NDArray[np.float32]:
    """Return the vectors of Embeddings that may become rows of a gallery of this space and dimension.

    Raises:
        IncompatibleSpaceError: They are in another space; that they may search it is not enough.
        VectorError: Not Embeddings, another dimension, or vectors that no index may see.
    """
    if isinstance(embeddings, Embeddings) and embeddings.space != space:
        raise IncompatibleSpaceError(
            embeddings.space,
            embeddings.searches,
            space,
            f"found vectors in space {embeddings.space}, expected the gallery's own space {space}; "
            f"embed the images with the gallery's model",
        )
    return checked(embeddings, dim)
