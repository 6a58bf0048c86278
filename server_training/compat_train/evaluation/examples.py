"""A few queries of an evaluation with what they find, and how long one image takes: what a person looks at."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset
from compat_sdk.space import Embeddings
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import split_rows
from compat_train.evaluation.embedding_model import Model

_MOST = 12
_HITS, _TIMED = 5, 15


@dataclass(frozen=True)
class Example:
    """One query and its nearest gallery images.

    Attributes:
        row: Place in the query split.
        hits: Places in the gallery split, best first, each with its cosine; the query's own picture is not among them.
    """

    row: int
    hits: tuple[tuple[int, float], ...]


def examples_of(
    dataset: Dataset, queries: Embeddings, gallery: Embeddings, own: NDArray[np.int64], most: int = _MOST
) -> tuple[Example, ...]:
    """The first query of each class that the gallery has, of at most so many classes, and its five nearest images."""
    labels, known = dataset.split("query").labels, set(dataset.split("gallery").labels)
    first: dict[str, int] = {}
    for row, label in enumerate(labels):
        if label in known:
            first.setdefault(label, row)
    found = []
    for row in list(first.values())[:most]:
        scores = gallery.vectors @ queries.vectors[row]
        if own[row] >= 0:
            scores[own[row]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:_HITS]
        found.append(Example(row, tuple((int(hit), float(scores[hit])) for hit in best if np.isfinite(scores[hit]))))
    return tuple(found)


def milliseconds(model: Model, dataset: Dataset, rows: Sequence[int]) -> float | None:
    """Median time to embed one decoded image, after a first that is not counted; None of stored vectors."""
    if model.stored is not None or not rows:
        return None
    pixels = decode_split(split_rows(dataset.split("query"), np.array(rows[:1], np.int64)), model.preprocessing).images
    model.embed(pixels)
    times = []
    for _ in range(_TIMED):
        began = time.perf_counter()
        model.embed(pixels)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)
