"""A segment of a gallery: its vectors and its table, written together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compat_sdk.gallery.files import Dtype, Segment
from compat_sdk.gallery.tables import Names, write_table
from compat_sdk.gallery.vectors import write_vectors


def write_segment(
    folder: Path,
    generation: int,
    blocks: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    names: Iterable[Names],
    dtype: Dtype = "float32",
) -> Segment:
    """Write the rows of ``blocks`` and their ``names``, in order, as a new segment; it counts once a state names it.

    See `write_vectors` and `write_table`.
    """
    vectors = write_vectors(folder, generation, blocks, shape, dtype)
    return Segment(shape[0], vectors, write_table(folder, generation, names, shape[0]))
