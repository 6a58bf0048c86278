"""Vectors out of faiss index files, through a process of its own; needs the extra ``faiss``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import numpy as np

from compat_sdk.arrays import read_array
from compat_sdk.errors import CorruptFileError
from compat_sdk.stores.native import LABELS, VECTORS, faiss_vectors
from compat_sdk.stores.npy import read_texts
from compat_sdk.stores.rows import ROWS_PER_BLOCK, Rows, Source


@contextmanager
def open_faiss(path: Path, ids: Path | None) -> Iterator[Source]:
    """The vectors of a faiss index file while the block runs; see `compat_sdk.stores.native.faiss_vectors`.

    Args:
        path: The index file.
        ids: File of texts that the index' ids number; None where these are the ids.

    Raises:
        CorruptFileError: It is damaged, or holds codes and no vectors.
        ConfigError: The file of texts is of no form that is read.
        MissingExtraError: faiss is not installed.
    """
    names, told = (None, "integer") if ids is None else read_texts(ids)
    with faiss_vectors(path) as (folder, distance):
        vectors, labels = read_array(folder / VECTORS, mapped=True), read_array(folder / LABELS)
        if names is not None and (labels.min() < 0 or labels.max() >= len(names)):
            worst = int(labels[np.argmax((labels < 0) | (labels >= len(names)))])
            raise CorruptFileError(f"{path} has the id {worst}, and {ids} {len(names)} texts; expected one per id")

        def read() -> Iterator[Rows]:
            for start in range(0, len(vectors), ROWS_PER_BLOCK):
                block = slice(start, start + ROWS_PER_BLOCK)
                numbers = labels[block].tolist()
                texts = [str(number) if names is None else names[number] for number in numbers]
                yield Rows.of(texts, vectors[block])

        yield Source(
            str(path),
            vectors.shape[1],
            len(vectors),
            read,
            distance=cast("Literal['dot', 'l2']", distance),
            id_type=cast("Literal['string', 'integer']", told),
        )
