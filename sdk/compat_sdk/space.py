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
from compat_sdk.shown import shown_value
from compat_sdk.unit import check_rows

_SPACE = re.compile(r"[A-Za-z0-9._-]{1,120}")
_COVERS_ALL = re.compile(r".+-[0-9]+-[0-9a-f]{16}")


def check_space(space: str) -> str:
    """Return ``space`` unchanged if it is a well-formed space identifier.

    Args:
        space: Such as ``"resnet101-128-3fa94c0d21b70e5c"``: 1 to 120 letters, digits, dots, dashes, underscores.

    Raises:
        ConfigError: The identifier is empty, too long or has other characters.
    """
    if not isinstance(space, str) or _SPACE.fullmatch(space) is None:
        raise ConfigError(
            f"{shown_value(space)} is not a space identifier; expected 1 to 120 of the characters A-Z a-z 0-9 . _ - "
            f"such as resnet101-128-3fa94c0d21b70e5c"
        )
    return space


def covers_all(space: str) -> bool:
    """Say whether a space's name is a digest of everything that decides a vector, see `compat_sdk.identity`.

    Else it is an *old space*: a digest of the weights alone, as up to 0.7, or a name that somebody chose.
    """
    return _COVERS_ALL.fullmatch(space) is not None


def check_dim(label: str, value: object) -> None:
    """Refuse what cannot be a vector's numbers: anything but an integer from 1 to 65536.

    Raises:
        ConfigError: It is not; the message begins with ``label``.
    """
    if type(value) is not int or not 1 <= value <= 65536:
        raise ConfigError(f"{label} is {shown_value(value)}; expected an integer from 1 to 65536")


def check_source(old_space: str, old_dim: int, side_space: str | None, side_dim: int | None) -> None:
    """Refuse what no transform takes; see `TransformSpaces`.

    Raises:
        ConfigError: A value is out of its range, or one of ``side_space`` and ``side_dim`` is missing.
    """
    check_space(old_space)
    check_dim("old_dim", old_dim)
    if (side_space is None) != (side_dim is None):
        raise ConfigError(
            f"side_space is {shown_value(side_space)} and side_dim {shown_value(side_dim)}; expected both or neither"
        )
    if side_space is not None:
        check_space(side_space)
        check_dim("side_dim", side_dim)


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
            raise ConfigError(f"searches is {shown_value(self.searches)}; expected a tuple of space identifiers")
        for space in self.searches:
            check_space(space)

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return int(self.vectors.shape[1])


@dataclass(frozen=True)
class TransformSpaces:
    """From where to where a transform leads.

    Attributes:
        old_space: Embedding space of the vectors that it takes.
        old_dim: Numbers per old vector.
        side_space: Embedding space of the side-information beside them; None where it takes none.
        side_dim: Numbers of side-information per row; None where it takes none.
        space: Embedding space of the vectors that it gives, the new model's.
        dim: Numbers per new vector.

    Raises:
        ConfigError: A value is out of its range, one of ``side_space`` and ``side_dim`` is missing, or the transform
            ends in the space that it begins in.
    """

    old_space: str
    old_dim: int
    side_space: str | None
    side_dim: int | None
    space: str
    dim: int

    def __post_init__(self) -> None:
        check_source(self.old_space, self.old_dim, self.side_space, self.side_dim)
        check_space(self.space)
        check_dim("dim", self.dim)
        if self.old_space == self.space:
            raise ConfigError(f"a transform from {self.space} to itself; expected the space of a new model")

    def __str__(self) -> str:
        beside = "" if self.side_space is None else f" and side-information in {self.side_space}"
        return f"from {self.old_space}{beside} to {self.space}"


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
        may = ", ".join(query.searches) or "no other space"
        raise IncompatibleSpaceError(
            query.space,
            query.searches,
            gallery_space,
            f"query vectors are in space {query.space} and may search {may}, but the gallery is in space "
            f"{gallery_space}; embed the queries with the gallery's own model or with a query model trained against it",
        )


def require_space(what: str, found: str, told: str | None) -> None:
    """Refuse vectors of another space than was told.

    Args:
        what: What holds them, for the message.
        found: Their space.
        told: The space that they must be in; None for no matter which.

    Raises:
        IncompatibleSpaceError: They are in another.
        ConfigError: What was told is no space.
    """
    if told is not None and check_space(told) != found:
        raise IncompatibleSpaceError(
            told, (), found, f"{what} is in space {found}, but the space is told as {told}; leave it out, or tell that"
        )


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
