"""All rows of a store in memory, for what learns from them or looks them up."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_sdk.exchange.place import Reading, open_source
from compat_sdk.shown import shown_value


@dataclass(frozen=True, eq=False)
class Table:
    """Ids, each once, and what belongs to them.

    Attributes:
        ids: One text per row.
        vectors: float32 ``[n, dim]``, as the store has them: of any length, and not checked for NaN.
        labels: One text per row, empty where there is none.
        space: The embedding space that the store names; None where it names none.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    space: str | None


def read_table(place: str | os.PathLike[str], reading: Reading | None = None) -> Table:
    """The rows of a file, a gallery folder or a collection, see `compat_sdk.exchange.place`.

    Raises:
        ConfigError: It is of no kind that is read, or does not exist.
        CorruptFileError: It is damaged, or not of the form that its name says.
        DataError: An id occurs more than once.
        StoreError: A collection is away.
        MissingExtraError: What reads it is not installed.
    """
    with open_source(place, reading) as source:
        pieces = list(source.read())
        ids = tuple(id for rows in pieces for id in rows.ids)
        labels = tuple(label for rows in pieces for label in rows.labels)
        seen: set[str] = set()
        for id in ids:
            if id in seen:
                raise DataError(f"{source.what} has the id {shown_value(id)} more than once; expected each once")
            seen.add(id)
        vectors = np.concatenate([np.empty((0, source.dim), np.float32), *(rows.vectors for rows in pieces)])
        return Table(ids, vectors, labels, source.space)
