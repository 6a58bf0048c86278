"""Scores that do not depend on block shapes or the BLAS, and how many rows of a gallery reach them.

Components are rounded to whole multiples of ``2**-26`` (less than float32 resolves around 0.1, a typical component),
which makes every partial sum of a dot product an integer below ``2**53``: float64 holds it exactly, in whatever order
it is summed. Equal vectors tie, always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError, VectorError
from compat_sdk.unit import check_rows

_SCALE = np.float32(2.0**26)
_MIB = 2**20
OVERHEAD = 8  # entries that the Python objects of one query weigh as much as


@dataclass(frozen=True)
class Blocks:
    """Rows per block, chosen so that all scratch memory stays within the budget."""

    queries: int
    gallery: int
    positives: int  # entries of the table of positive scores


def scaled(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Components as whole multiples of 2**-26, so that dot products are exact integers."""
    whole = vectors * _SCALE
    exact: NDArray[np.float64] = np.rint(whole, out=whole).astype(np.float64)
    return exact


def groups(rows: NDArray[np.int64], widths: NDArray[np.int64], limit: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive rows whose tables of positive scores together hold at most ``limit`` entries."""
    ends = np.cumsum(widths)
    start = 0
    while start < len(rows):
        taken = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, taken + limit, side="right")))
        yield rows[start:stop]
        start = stop


def count_above(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    group: NDArray[np.int64],
    table: list[NDArray[np.float64]],
    blocks: Blocks,
) -> list[NDArray[np.int64]]:
    """For each positive score, how many gallery rows of any label score at least as high."""
    counts = [np.zeros(len(scores), np.int64) for scores in table]
    lowest = np.fromiter((scores[0] for scores in table), np.float64, len(table))
    scratch = np.empty(min(blocks.queries, len(group)) * min(blocks.gallery, len(gallery)))
    for at in range(0, len(gallery), blocks.gallery):
        block = scaled(gallery[at : at + blocks.gallery])
        for top in range(0, len(group), blocks.queries):
            part = scaled(queries[group[top : top + blocks.queries]])
            scores = scratch[: len(part) * len(block)].reshape(len(part), len(block))
            np.matmul(part, block.T, out=scores)
            reach = scores >= lowest[top : top + len(part), None]
            found = np.count_nonzero(reach, axis=1)
            candidates = scores[reach]
            end = 0
            for line, number in enumerate(found.tolist(), start=top):
                if number:
                    near = candidates[end : end + number]
                    counts[line] += _at_least(near, table[line])
                    end += number
    return counts


def _at_least(near: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each level, how many of ``near`` reach it. May reorder ``near``."""
    # Sorting pays only from some thirty levels on; for a few candidates either way is quick.
    if len(levels) < 32 and len(near) > 1000:
        return np.array([np.count_nonzero(near >= level) for level in levels], np.int64)
    near.sort()
    return len(near) - np.searchsorted(near, levels)


def choose_blocks(memory_mib: float, queries: NDArray[np.float32], gallery: NDArray[np.float32], widest: int) -> Blocks:
    """Block sizes whose scratch arrays fit into the budget, label book-keeping included."""
    dim = int(queries.shape[1])
    # Per vector: two float32 copies and a float64 one. Per score: itself, its flag, its copy as a candidate.
    # Per positive: score, count and two passing copies.
    per_vector, per_score, per_positive = 16 * dim, 18, 48
    needed = (widest + OVERHEAD) * per_positive
    available = memory_mib * _MIB - 40 * len(gallery) - 96 * len(queries)
    space = min(available / 2, available - needed)
    rows = 2 * min(256, len(queries))
    columns = 0
    while rows > 1 and columns < min(rows, len(gallery)):
        rows //= 2
        columns = int((space - per_vector * rows) // (per_vector + per_score * rows))
    columns = min(columns, 4096, len(gallery))
    if columns < 1:
        least = memory_mib + (needed - available + 2 * per_vector + per_score) / _MIB
        least = max(least, memory_mib + (2 * (2 * per_vector + per_score) - available) / _MIB)
        raise ConfigError(
            f"memory_mib is {memory_mib:g}; ranking {len(queries)} queries in {len(gallery)} gallery images of "
            f"{dim} dimensions takes at least {math.ceil(least * 1000) / 1000:g}"
        )
    entries = int((available - per_vector * (rows + columns) - per_score * rows * columns) // per_positive)
    return Blocks(rows, columns, entries)


def check_pair(
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    gallery: NDArray[np.float32],
    gallery_labels: Sequence[str],
) -> None:
    """Refuse queries and a gallery that are not finite unit-norm float32 rows of one length, each with its label.

    Raises:
        VectorError: The vectors are something else.
        DataError: Labels and vectors differ in number.
    """
    for vectors, labels, what in ((queries, query_labels, "query"), (gallery, gallery_labels, "gallery")):
        if len(labels) != len(vectors):
            raise DataError(
                f"there are {len(vectors)} {what} vectors and {len(labels)} labels; give one label per vector"
            )
    check_vectors(queries, gallery)


def check_vectors(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
    """Refuse queries and a gallery that are not finite unit-norm float32 rows of one length.

    Raises:
        VectorError: They are something else.
    """
    for vectors, what in ((queries, "query"), (gallery, "gallery")):
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise VectorError(
                f"{what} vectors must be float32 [rows, dim], not {vectors.dtype} of shape {vectors.shape}"
            )
        check_rows(vectors, f"{what} vectors", "divide each vector by its norm")
    if len(gallery) and len(queries) and queries.shape[1] != gallery.shape[1]:
        raise VectorError(
            f"queries have {queries.shape[1]} dimensions, the gallery {gallery.shape[1]}; they must agree"
        )
