"""Vectors out of the files that hnswlib writes, read by their layout: hnswlib's own reader dies of damaged ones.

    0   offset of level 0 in an element, most elements, elements, bytes of an element, offset of its label, of its data
        six integers of 8 bytes
    48  highest level, entry point                     4 bytes each
    56  most links of a level, of level 0, M           8 bytes each
    80  multiplier of levels                           float64
    88  candidates while building                      8 bytes
    96  the elements: links of level 0, the vector in float32, the label in 8 bytes

Source: hnswlib 0.8, `HierarchicalNSW.saveIndex`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.stores.npy import read_texts
from compat_sdk.stores.rows import ROWS_PER_BLOCK, IdType, Rows, Source

_HEAD = struct.Struct("<6QiI3QdQ")
_DELETED = 1  # lowest bit of the third byte of an element's links


def open_hnswlib(path: Path, ids: Path | None) -> Source:
    """The vectors of an hnswlib file; its labels are their ids. Elements marked as deleted are left out.

    Args:
        path: The file.
        ids: File of texts that the labels number; None where the labels are the ids.

    Raises:
        CorruptFileError: It is damaged, or no such file.
        ConfigError: The file of texts is of no form that is read.
    """
    element, count = _layout(path)
    found = element["vector"].shape[0]
    names: list[str] | None = None
    told: IdType = "integer"
    if ids is not None:
        names, told = read_texts(ids)

    def read() -> Iterator[Rows]:
        for kept in _elements(path, element, count):
            labels = [int(label) for label in kept["label"]]
            if names is not None and labels and max(labels) >= len(names):
                raise CorruptFileError(
                    f"{path} has the label {max(labels)}, and {ids} {len(names)} texts; expected one per label"
                )
            yield Rows.of([str(label) if names is None else names[label] for label in labels], kept["vector"])

    kept = sum(map(len, _elements(path, element, count)))
    if not kept:
        raise CorruptFileError(f"{path} has no elements that are not deleted; expected at least one")
    return Source(str(path), found, kept, read, id_type=told)


def _elements(path: Path, element: np.dtype[np.void], count: int) -> Iterator[NDArray[np.void]]:
    """The elements that are not marked as deleted, in blocks."""
    with open_plain(path) as file:
        file.seek(_HEAD.size)
        for start in range(0, count, ROWS_PER_BLOCK):
            size = min(ROWS_PER_BLOCK, count - start) * element.itemsize
            data = file.read(size)
            if len(data) != size:
                raise CorruptFileError(f"{path} became shorter while it was read; copy it first")
            elements = np.frombuffer(data, element)
            yield elements[elements["links"][:, 2] & _DELETED == 0]


def _layout(path: Path) -> tuple[np.dtype[np.void], int]:
    """How an element lies in the file, and how many there are."""
    try:
        with open_plain(path) as file:
            head, size = file.read(_HEAD.size), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    broken = CorruptFileError(f"{path} is no whole file of hnswlib (its head does not fit its size); save it again")
    if len(head) < _HEAD.size:
        raise broken
    level, most, count, bytes_each, label_at, vector_at, _, _, _, most_links, _, _, _ = _HEAD.unpack(head)
    numbers, rest = divmod(label_at - vector_at, 4)
    fits = (
        level == 0
        and 0 < count <= most
        and vector_at == 4 * (most_links + 1)
        and bytes_each == label_at + 8
        and rest == 0
        and 1 <= numbers <= 65536
        and _HEAD.size + count * bytes_each <= size
    )
    if not fits:
        raise broken
    element = np.dtype([("links", "u1", (vector_at,)), ("vector", "<f4", (numbers,)), ("label", "<u8")])
    return element, int(count)
