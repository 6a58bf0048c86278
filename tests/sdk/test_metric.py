"""A metric's name, and one value a query of it."""

from __future__ import annotations

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics import (
    Metric,
    average_precision_at,
    best_scores,
    identify,
    score_queries,
    split_galleries,
)


def case(seed=0, strangers=False):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((12, 8))
    sides = []
    for count, people in ((50, 12), (80, 9 if strangers else 12)):
        who = np.concatenate([np.arange(people), random.integers(0, people, count - people)])
        vectors = centres[who] + random.standard_normal((count, 8))
        sides += [
            (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
            who.astype(str).tolist(),
        ]
    return sides


@pytest.mark.parametrize("name", ["top-1", "top-10", "map", "map@100", "tpir@fpir=0.1", "tpir@fpir=0"])
def test_a_name_is_read_and_written_alike(name):
    assert str(Metric.parse(name)) == name


@pytest.mark.parametrize(
    "name", ["", "top", "top-0", "top-1.5", "Top-1", "map@0", "map@", "tpir@fpir=1", "tpir@fpir=1.5", "tar", "top-1 "]
)
def test_another_name_is_refused_with_those_that_there_are(name):
    with pytest.raises(ConfigError, match="top-K, map, map@K and tpir@fpir=RATE"):
        Metric.parse(name)


def test_values_are_those_of_the_ranking():
    ranked = score_queries(*case())
    for name, expected in (("top-1", ranked.hits(1)), ("top-5", ranked.hits(5)), ("map", ranked.average_precision)):
        metric = Metric.parse(name)
        assert metric.values(*case()).tolist() == expected.tolist()
        found = metric.of(ranked)
        assert found is not None
        assert found.tolist() == expected.tolist()
    cut = score_queries(*case(), precision=lambda ranks: average_precision_at(ranks, 3)).average_precision
    assert Metric.parse("map@3").values(*case()).tolist() == cut.tolist()
    cut_at = Metric.parse("map@3")
    assert cut_at.of(ranked) is None
    both = score_queries(*case(), also=cut_at.cut_off)
    assert both.average_precision.tolist() == ranked.average_precision.tolist()
    found = cut_at.of(both)
    assert found is not None
    assert found.tolist() == cut.tolist()
    assert Metric.parse("top-1").cut_off is None
    assert Metric.parse("map").cut_off is None


def test_with_strangers_identification_takes_the_whole_gallery():
    sides = case(strangers=True)
    expected = identify(best_scores(*sides), 0.1).hits
    assert Metric.parse("tpir@fpir=0.1").values(*sides).tolist() == expected.tolist()


@pytest.mark.parametrize("own", [False, True])
def test_without_strangers_each_half_of_the_gallery_has_some(own):
    queries, names, gallery, labels = case()
    exclude = None
    if own:
        exclude = np.full(len(queries), -1)
        exclude[20:40] = np.arange(20, 40)
        gallery[20:40], labels[20:40] = queries[20:40], names[20:40]
    values = Metric.parse("tpir@fpir=0.1").values(queries, names, gallery, labels, exclude_self=exclude)
    for rows in split_galleries(labels):
        known = {labels[row] for row in rows}
        places = {int(row): place for place, row in enumerate(rows)}
        inside = None if exclude is None else np.array([places.get(int(row), -1) for row in exclude])
        found = identify(
            best_scores(queries, names, gallery[rows], [labels[r] for r in rows], exclude_self=inside), 0.1
        )
        assert [values[row] for row, name in enumerate(names) if name in known] == found.hits.tolist()
    assert 0 < values.mean() < 1


def test_no_identity_in_the_gallery_is_an_error():
    queries, _, gallery, labels = case()
    with pytest.raises(DataError, match="none of the 50 queries"):
        Metric.parse("tpir@fpir=0.1").values(queries, ["nobody"] * 50, gallery, labels)
