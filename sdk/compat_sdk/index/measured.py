"""An index whose settings were chosen by measurement on the very vectors that it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.index.approximate import ApproximateIndex
from compat_sdk.index.engine import new_engine
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.index.exact import ExactIndex
from compat_sdk.index.options import check_kind, effort_of, options_of
from compat_sdk.index.recall import Questions
from compat_sdk.index.vectors import check_count, check_vectors

_LEAST_ROWS = 100
_HELD_OUT, _SHARE_HELD_OUT = 500, 10
_NEIGHBOURS = 10
_MOST_EFFORT = 4096
_STRONGER: tuple[dict[str, int], ...] = (
    {"connectivity": 16, "expansion_add": 128},
    {"connectivity": 32, "expansion_add": 256},
    {"connectivity": 64, "expansion_add": 512},
)
_STRONGER_LISTS: tuple[dict[str, int], ...] = ({"rerank": 10}, {"rerank": 40}, {"rerank": 160})


@dataclass(frozen=True)
class Recall:
    """What was measured of an index.

    Attributes:
        recall: Of the ``neighbours`` nearest rows of a query, the fraction that the index finds; mean, in [0, 1].
        queries: Rows that were held out of the index, asked for, and added to it afterwards.
        neighbours: 10, or fewer where there are fewer rows.
    """

    recall: float
    queries: int
    neighbours: int


def build_measured(
    kind: str,
    vectors: NDArray[np.float32],
    recall: float,
    *,
    threads: int | None = None,
    seed: int = 0,
    **options: int,
) -> tuple[ApproximateIndex, Recall]:
    """Build an index that finds this fraction of the nearest rows, with the least effort of a search.

    Up to 500 rows are held out while it is built, and then asked for, as pictures that the index has not seen. Where no
    effort suffices, a graph of more links is built, or lists whose finds are scored again in larger number. At the end
    the held-out rows are added.

    Args:
        kind: See `ApproximateIndex.build`.
        vectors: ``[n, dim]`` float32, unit norm, of which at least 100 differ.
        recall: Wanted mean recall of the 10 nearest rows, above 0 and at most 1.
        threads: See `ApproximateIndex.build`.
        seed: Of the choice of rows that are held out.
        **options: Settings that are not to be chosen.

    Returns:
        The index, and what was measured of it.

    Raises:
        VectorError: Rows that no index may see.
        ConfigError: An option is out of its range, there are too few rows to measure, or no setting reaches it.
        MissingExtraError: The library is not installed.
    """
    check_recall(recall)
    options_of(check_kind(kind), options)
    if threads is not None:
        check_count("threads", threads)
    vectors = check_vectors(vectors)
    equal = EqualRows.of(vectors)
    distinct = len(equal.firsts)
    if distinct < _LEAST_ROWS:
        raise ConfigError(
            f"found {distinct} different vectors, expected at least {_LEAST_ROWS} to measure a recall on; leave the "
            f"recall out, or search exactly"
        )
    held = np.sort(
        np.random.default_rng(seed).choice(equal.firsts, min(_HELD_OUT, distinct // _SHARE_HELD_OUT), replace=False)
    )
    base = np.setdiff1d(equal.firsts, held, assume_unique=True)
    exact = ExactIndex(vectors)
    asked = Questions.of(exact, vectors[held], _NEIGHBOURS, among=base)
    best = 0.0
    for told in _stronger(kind, options):
        engine = new_engine(kind, vectors.shape[1], distinct, options_of(kind, told))
        engine.add(vectors, base, threads)
        index = ApproximateIndex(kind, engine, equal, vectors.shape[1], lambda: exact, threads)
        found = _set_effort(index, _efforts(index, options), recall, asked)
        if found >= recall:
            engine.add(vectors, held, threads)
            return index, Recall(found, len(held), _NEIGHBOURS)
        best = max(best, found)
    raise ConfigError(
        f"{kind} finds {best:.4f} of the nearest rows at most, and {recall} is wanted; ask for less, or search exactly"
    )


def check_recall(recall: object) -> float:
    """Return a recall that can be asked for.

    Raises:
        ConfigError: Not a number above 0 and at most 1.
    """
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
        raise ConfigError(f"recall is {recall!r}, expected a number above 0 and at most 1, such as 0.99")
    return float(recall)


def _stronger(kind: str, options: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Ways to build it, the cheapest first; what the caller chose stands in all of them."""
    seen: list[dict[str, int]] = []
    for way in _STRONGER_LISTS if kind == "faiss-ivfpq" else _STRONGER:
        told = way | dict(options)
        if told not in seen:
            seen.append(told)
            yield told


def _efforts(index: ApproximateIndex, options: Mapping[str, int]) -> list[int]:
    """Efforts of a search, rising by a quarter or so, or the one that the caller chose."""
    name = effort_of(options_of(index.name, {}))
    if name in options:
        return [options[name]]
    most = min(_MOST_EFFORT, index.options.get("lists", _MOST_EFFORT))
    steps = {min(most, round(2 ** (step / 3))) for step in range(37)}
    return sorted(effort for effort in steps if effort >= (1 if "lists" in index.options else _NEIGHBOURS))


def _set_effort(
    index: ApproximateIndex,
    efforts: list[int],
    recall: float,
    asked: Questions,
) -> float:
    """Set the least effort that suffices, where more never finds less, or the largest; return what it finds."""

    def found(place: int) -> float:
        index.effort = efforts[place]
        return asked.recall(index.nearest_distinct(asked.queries, _NEIGHBOURS)[0])

    low, high = 0, len(efforts) - 1
    best = found(high)
    while best >= recall and low < high:
        middle = (low + high) // 2
        reached = found(middle)
        if reached >= recall:
            high, best = middle, reached
        else:
            low = middle + 1
    index.effort = efforts[high]
    return best
