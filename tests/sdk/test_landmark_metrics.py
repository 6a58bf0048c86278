"""Rankings by lists of positives and junk, and the definitions of average precision, against loops."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics import (
    average_precision,
    average_precision_at,
    score_listed,
    score_queries,
    trapezoid_average_precision,
)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def naive_ranks(query, gallery, positives, ignored):
    """Ranks of the positives once junk has left the ranking; equal scores stand against them."""
    scores = [int(score) for score in np.rint(gallery.astype(np.float64) * 2**26) @ np.rint(query * 2.0**26)]
    ranking = sorted((-score, row in positives, row) for row, score in enumerate(scores) if row not in ignored)
    return np.array([rank for rank, (_, right, _) in enumerate(ranking, 1) if right])


def naive_trapezoid(ranks):
    """The published evaluation, with ranks from 0."""
    total = 0.0
    for seen, rank in enumerate(ranks - 1):
        before = 1.0 if rank == 0 else seen / rank
        total += (before + (seen + 1) / (rank + 1)) / 2 / len(ranks)
    return total


def naive_at(ranks, k):
    precisions = [sum(ranks <= place) / place for place in range(1, k + 1) if place in ranks]
    return sum(precisions) / min(len(ranks), k)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("memory_mib", [0.1, 256])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_equal_a_full_sort_without_the_junk(seed, memory_mib, ties):
    random = np.random.default_rng(seed)
    queries, gallery = unit(random.standard_normal((12, 6))), unit(random.standard_normal((90, 6)))
    if ties:
        gallery = gallery[random.integers(0, 7, 90)]
    lists = [random.permutation(90)[:30] for _ in queries]
    positives = [rows[: random.integers(0, 12)] for rows in lists]
    ignored = [rows[15 : random.integers(15, 30)] for rows in lists]
    for precision, naive in (
        (average_precision, lambda ranks: float(np.mean(np.arange(1, len(ranks) + 1) / ranks))),
        (trapezoid_average_precision, naive_trapezoid),
        (partial(average_precision_at, cut_off=10), lambda ranks: naive_at(ranks, 10)),
    ):
        found = score_listed(queries, gallery, positives, ignored, memory_mib=memory_mib, precision=precision)
        rows = [row for row, listed in enumerate(positives) if len(listed)]
        assert (found.rows.tolist(), found.skipped) == (rows, len(queries) - len(rows))
        for place, row in enumerate(rows):
            ranks = naive_ranks(queries[row], gallery, set(positives[row].tolist()), set(ignored[row].tolist()))
            assert found.first_rank[place] == ranks[0]
            assert found.average_precision[place] == pytest.approx(naive(ranks))


def test_lists_of_equal_labels_give_what_labels_give():
    random = np.random.default_rng(0)
    queries, gallery = unit(random.standard_normal((10, 5))), unit(random.standard_normal((60, 5)))
    names, labels = random.integers(0, 4, 10).astype(str), random.integers(0, 4, 60).astype(str)
    by_label = score_queries(queries, names.tolist(), gallery, labels.tolist())
    by_list = score_listed(queries, gallery, [np.flatnonzero(labels == name) for name in names])
    assert by_label.first_rank.tolist() == by_list.first_rank.tolist()
    assert by_label.average_precision.tolist() == by_list.average_precision.tolist()


def test_definitions_by_hand():
    """Positives at ranks 1 and 3, as the published evaluation of ROxford has them in its documentation."""
    ranks = np.array([1, 3])
    assert average_precision(ranks) == pytest.approx((1 + 2 / 3) / 2)
    assert trapezoid_average_precision(ranks) == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert average_precision_at(ranks, 2) == pytest.approx(1 / 2)
    assert average_precision_at(ranks, 100) == pytest.approx(average_precision(ranks))
    assert average_precision_at(np.array([4]), 3) == 0


def test_more_positives_than_results_do_not_count_against_the_first_hundred():
    assert average_precision_at(np.arange(1, 301), 100) == 1.0


def test_junk_before_a_positive_does_not_move_it():
    query, gallery = np.array([[1, 0]], np.float32), unit(np.array([[1, 0], [5, 1], [5, 2], [5, 3]], np.float32))
    assert score_listed(query, gallery, [[2]]).first_rank.tolist() == [3]
    assert score_listed(query, gallery, [[2]], [[0, 1]]).first_rank.tolist() == [1]
    assert score_listed(query, gallery, [[2]], [[3]]).first_rank.tolist() == [3]


@pytest.mark.parametrize(
    ("positives", "ignored", "match"),
    [
        ([[0]], None, "2 queries and 1 lists of positives"),
        ([[0], [9]], None, "outside the gallery's 0 to 3"),
        ([[0], [-1]], None, "outside"),
        ([[0], [1, 1]], None, "a row twice"),
        ([[0], [1]], [[], [1]], "row 1 is both positive and ignored for query 1"),
        ([[], []], None, "none of the 2 queries"),
        ([[0.5], [1]], None, "float64"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(positives, ignored, match):
    gallery = np.eye(4, dtype=np.float32)
    with pytest.raises(DataError, match=match):
        score_listed(gallery[:2], gallery, positives, ignored)


def test_a_cut_off_below_one_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        average_precision_at(np.array([1]), 0)
