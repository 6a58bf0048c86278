"""Embedding spaces: which vectors may be compared with which.

A model writes its vectors in one *space*. A gallery model's space is its own; a query model trained to be
compatible with it writes in a space of its own as well and *declares* the gallery spaces that it may search.
Everything else is refused, because the distance between two vectors of unrelated models is a number without
a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, IncompatibleSpaceError, VectorError
from compat_sdk.unit import check_rows

_SPACE = re.compile(r"[A-Za-z0-9._-]{1,120}")


def check_space(space: str) -> str:
    """Return ``space`` unchanged if it is a well-formed space identifier.

    Args:
        space: Such as ``"resnet101-128-3fa94c0d21b7"``: 1 to 120 letters, digits, dots, dashes, underscores.

    Raises:
        ConfigError: The identifier is empty, too long or has other characters.
    """
    if not isinstance(space, str) or _SPACE.fullmatch(space) is None:
        raise ConfigError(
            f"{space!r} is not a space identifier; expected 1 to 120 of the characters A-Z a-z 0-9 . _ - "
            f"such as resnet101-128-3fa94c0d21b7"
        )
    return space


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors that know the embedding space they were written in.

    Attributes:
        vectors: ``[n, dim]`` float32, C-contiguous, finite, rows of unit length. Kept, not copied.
        space: Identifier of the space that the vectors were written in.
        searches: Gallery spaces that these vectors may search, besides their own.

    Raises:
        VectorError: ``vectors`` is not such an array; ``rows`` names the rows that are not finite.
        ConfigError: A space identifier is malformed.
    """

    vectors: NDArray[np.float32]
    space: str
    searches: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_array(self.vectors)
        check_space(self.space)
        if not isinstance(self.searches, tuple):
            raise ConfigError(f"searches is {self.searches!r}; expected a tuple of space identifiers")
        for space in self.searches:
            check_space(space)

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return int(self.vectors.shape[1])


def may_search(space: str, searches: Sequence[str], gallery_space: str) -> bool:
    """Say whether vectors of ``space`` declaring ``searches`` may search a gallery in ``gallery_space``."""
    return gallery_space == space or gallery_space in tuple(searches)


def require_compatible(query: Embeddings, gallery_space: str) -> None:
    """Refuse a search whose scores would mean nothing.

    Raises:
        IncompatibleSpaceError: The query declares neither by its own space nor by ``searches`` that it may
            search ``gallery_space``.
    """
    if not may_search(query.space, query.searches, gallery_space):
        raise IncompatibleSpaceError(query.space, query.searches, gallery_space)


def _check_array(vectors: object) -> None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        found = (
            f"{vectors.dtype} of shape {list(vectors.shape)}"
            if isinstance(vectors, np.ndarray)
            else type(vectors).__name__
        )
        raise VectorError(f"vectors are {found}; expected a float32 array of shape [n, dim]")
    if vectors.shape[1] == 0:
        raise VectorError(f"vectors have shape {list(vectors.shape)}; expected at least one number per vector")
    if not vectors.flags.c_contiguous:
        raise VectorError("vectors are not C-contiguous; pass numpy.ascontiguousarray(vectors)")
    check_rows(vectors, "vectors", "divide each row by its length, and leave out rows without one")
