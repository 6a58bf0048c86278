"""A gallery's approximate index: built as it was asked for, recorded as it was built, and built again from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery.state import StoredIndex
from compat_sdk.index import KINDS, ApproximateIndex, ExactIndex, build_measured

_THREADS = "threads"
_MILLIONTHS = 1_000_000


def build(
    kind: str, vectors: NDArray[np.float32], recall: float | None, options: Mapping[str, int]
) -> tuple[ApproximateIndex, dict[str, int]]:
    """Build an index, and say what gallery.json is to keep of how it was built.

    Args:
        kind: One of `compat_sdk.index.KINDS`.
        vectors: All rows of the gallery.
        recall: What the index is to find of the nearest rows, so that the rest is chosen; None builds it as told.
        options: See `compat_sdk.index.ApproximateIndex.build`, and ``threads``.

    Raises:
        ConfigError: Unknown kind or option, an option out of its range, or a recall out of reach.
        MissingExtraError: The library is not installed.
    """
    told = {name: value for name, value in options.items() if name != _THREADS}
    threads = options.get(_THREADS)
    if recall is None:
        return ApproximateIndex.build(kind, vectors, threads=threads, **told), told
    index, measured = build_measured(kind, vectors, recall, threads=threads, **told)
    return index, index.options | {
        "wanted_recall_millionths": round(recall * _MILLIONTHS),
        "recall_millionths": int(measured.recall * _MILLIONTHS),
        "recall_queries": measured.queries,
        "recall_neighbours": measured.neighbours,
    }


def build_again(record: StoredIndex, vectors: NDArray[np.float32]) -> tuple[ApproximateIndex, dict[str, int]]:
    """Build a recorded index again: with the recall that was asked for, or as it was told.

    One of a kind that is not known here becomes a usearch index.

    Raises:
        ConfigError: The recall that was asked for is out of reach by now.
        MissingExtraError: The library is not installed.
    """
    kind = record.kind if record.kind in KINDS else KINDS[0]
    return build(kind, vectors, record.wanted_recall, {} if record.wanted_recall else record.build_options)


def load(
    record: StoredIndex, content: bytes, rows: int, dim: int, exact: Callable[[], ExactIndex], *, vouched: bool
) -> ApproximateIndex:
    """Open a recorded index; see `compat_sdk.index.ApproximateIndex.load`.

    Raises:
        ForeignIndexError: It was not built here and nobody vouches for it.
        GalleryError: It is over other vectors.
        ConfigError: It is of a kind that this release does not know.
        MissingExtraError: The library is not installed.
    """
    return ApproximateIndex.load(record.kind, content, rows, dim, exact, vouched=vouched, **record.build_options)


def shown(options: Mapping[str, int]) -> dict[str, object]:
    """The options that gallery.json keeps, with recalls as fractions."""
    suffix = "_millionths"
    return {
        name.removesuffix(suffix): value / _MILLIONTHS if name.endswith(suffix) and type(value) is int else value
        for name, value in options.items()
    }
