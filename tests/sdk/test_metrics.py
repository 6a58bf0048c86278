"""Exactness of the ranking against a naive full sort, its memory bound, and the statistics on top."""

from __future__ import annotations

import tracemalloc
from math import fsum

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, DataError, VectorError
from compat_sdk.metrics import PerQuery, cost_curve, paired_difference, rank_correlation, score_queries, summarise
from compat_sdk.metrics.cost_curve import amortised_cost
from compat_sdk.metrics.scores import bootstrap_mean


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def labels_of(numbers):
    return [f"id-{number}" for number in numbers]


def random_case(seed, *, ties=False, queries=40, gallery=150, dim=16, classes=12):
    random = np.random.default_rng(seed)
    query_numbers = random.integers(0, classes + 3, queries)  # three classes that the gallery lacks
    gallery_numbers = random.integers(0, classes, gallery)
    if ties:  # few distinct vectors, shared by all classes
        pool = unit(random.standard_normal((9, dim)))
        vectors = pool[random.integers(0, 9, queries)], pool[random.integers(0, 9, gallery)]
    else:
        centres = random.standard_normal((classes + 3, dim))
        vectors = tuple(
            unit(centres[numbers] + random.standard_normal((len(numbers), dim)))
            for numbers in (query_numbers, gallery_numbers)
        )
    return vectors[0], labels_of(query_numbers), vectors[1], labels_of(gallery_numbers)


def naive(queries, query_labels, gallery, gallery_labels, own=None):
    """Sort the whole gallery for each query, negatives first among equals; scores are whole numbers."""
    whole_queries = np.rint(queries.astype(np.float64) * 2**26).astype(np.int64)
    whole_gallery = np.rint(gallery.astype(np.float64) * 2**26).astype(np.int64)
    scores = whole_queries @ whole_gallery.T
    rows, ranks, precisions = [], [], []
    for row, line in enumerate(scores.tolist()):
        scored = sorted(
            (-score, label == query_labels[row])
            for number, (score, label) in enumerate(zip(line, gallery_labels, strict=True))
            if own is None or number != own[row]
        )
        found = [rank for rank, (_, positive) in enumerate(scored, start=1) if positive]
        if found:
            rows.append(row)
            ranks.append(found[0])
            precisions.append(fsum(i / rank for i, rank in enumerate(found, 1)) / len(found))
    return rows, ranks, precisions


def assert_equals_naive(result, expected):
    rows, ranks, precisions = expected
    assert result.rows.tolist() == rows
    assert result.first_rank.tolist() == ranks
    np.testing.assert_allclose(result.average_precision, precisions, rtol=1e-13)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_ranks_and_precision_equal_a_full_sort(seed, ties):
    case = random_case(seed, ties=ties)
    assert_equals_naive(score_queries(*case), naive(*case))


@pytest.mark.parametrize("ties", [False, True])
def test_an_excluded_own_image_is_neither_positive_nor_negative(ties):
    queries, query_labels, gallery, gallery_labels = random_case(7, ties=ties)
    own = np.random.default_rng(1).integers(-1, len(gallery), len(queries))
    for row in range(0, len(queries), 3):  # every third query is itself in the gallery
        gallery[own[row]], gallery_labels[own[row]] = queries[row], query_labels[row]
    case = (queries, query_labels, gallery, gallery_labels)
    assert_equals_naive(score_queries(*case, exclude_self=own), naive(*case, own))


def test_a_query_set_that_is_the_gallery_can_leave_each_query_out():
    _, _, gallery, labels = random_case(8)
    own = np.arange(len(gallery))
    result = score_queries(gallery, labels, gallery, labels, exclude_self=own)
    assert_equals_naive(result, naive(gallery, labels, gallery, labels, own))
    assert summarise(score_queries(gallery, labels, gallery, labels)).cmc[1] == 1.0


@pytest.mark.parametrize("classes", [1, 2])
def test_a_gallery_with_many_positives_per_query_takes_the_sorting_path(classes):
    case = random_case(9, queries=5, gallery=1500, classes=classes)
    assert_equals_naive(score_queries(*case), naive(*case))


def test_a_one_class_gallery_gives_perfect_precision():
    queries, _, gallery, _ = random_case(10)
    result = score_queries(queries, ["a"] * len(queries), gallery, ["a"] * len(gallery))
    assert summarise(result).map == 1.0
    assert result.first_rank.tolist() == [1] * len(queries)


def test_many_candidates_and_few_positives_are_counted_exactly():
    case = random_case(11, queries=4, gallery=3000, classes=200, ties=True)
    assert_equals_naive(score_queries(*case), naive(*case))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("memory_mib", [0.03, 0.05, 0.07, 0.1, 0.31, 1, 1000])
def test_any_budget_gives_the_same_bits(memory_mib, ties):
    case = random_case(12, ties=ties, queries=70, gallery=257)
    expected = score_queries(*case)
    found = score_queries(*case, memory_mib=memory_mib)
    assert found.first_rank.tobytes() == expected.first_rank.tobytes()
    assert found.average_precision.tobytes() == expected.average_precision.tobytes()


def test_the_order_of_gallery_and_queries_does_not_matter():
    queries, query_labels, gallery, gallery_labels = random_case(13, ties=True)
    expected = score_queries(queries, query_labels, gallery, gallery_labels)
    turn = np.random.default_rng(0).permutation(len(gallery))
    found = score_queries(queries[::-1], query_labels[::-1], gallery[turn], [gallery_labels[row] for row in turn])
    assert found.average_precision[::-1].tobytes() == expected.average_precision.tobytes()


def test_equal_vectors_tie_against_the_query_wherever_they_stand():
    random = np.random.default_rng(14)
    vectors = unit(random.standard_normal((500, 128)))
    query = unit(random.standard_normal((1, 128)))
    twin = vectors[3]
    for place in (0, 1, 17, 255, 256, 499):
        gallery = vectors.copy()
        gallery[place] = twin  # a negative with the positive's vector
        labels = ["other"] * 500
        labels[3] = "wanted"
        better = int((gallery.astype(np.float64) @ query[0] > twin.astype(np.float64) @ query[0] + 1e-6).sum())
        result = score_queries(query, ["wanted"], gallery, labels)
        assert result.first_rank[0] == better + 2
        assert result.average_precision[0] == 1 / (better + 2)


def test_scores_are_those_of_float64_dot_products():
    case = random_case(15, queries=30, gallery=400, dim=128)
    queries, query_labels, gallery, gallery_labels = case
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    hit = [
        query_labels[row] == gallery_labels[int(line.argmax())]
        for row, line in enumerate(scores)
        if query_labels[row] in gallery_labels
    ]
    assert score_queries(*case).hits(1).astype(bool).tolist() == hit


def test_average_precision_by_hand():
    gallery = unit(np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0, 1]], np.float32))
    result = score_queries(gallery[:1], ["a"], gallery, ["b", "a", "b", "a"])
    assert result.first_rank.tolist() == [2]
    assert result.average_precision[0] == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_queries_without_a_positive_are_left_out_and_counted():
    gallery = unit(np.eye(3))
    result = score_queries(gallery, ["a", "nowhere", "c"], gallery, ["a", "b", "c"])
    assert (result.rows.tolist(), result.skipped, result.gallery_size, len(result)) == ([0, 2], 1, 3, 2)
    assert summarise(result).skipped == 1


@pytest.mark.parametrize("gallery_size", [0, 3])
def test_no_query_with_a_positive_is_an_error(gallery_size):
    vectors = unit(np.eye(3))
    with pytest.raises(DataError, match="must share labels"):
        score_queries(vectors, ["x", "y", "z"], vectors[:gallery_size], ["a", "b", "c"][:gallery_size])
    with pytest.raises(DataError, match="must share labels"):
        score_queries(vectors, list("abc"), vectors, list("abc"), exclude_self=np.arange(3))


def test_peak_memory_stays_below_the_budget():
    random = np.random.default_rng(16)
    gallery = unit(random.standard_normal((4_000, 64)))
    queries = unit(random.standard_normal((150, 64)))
    query_labels = labels_of(random.integers(0, 300, 150))
    gallery_labels = labels_of(random.integers(0, 300, 4_000))
    for budget in (1, 4):
        tracemalloc.start()
        score_queries(queries, query_labels, gallery, gallery_labels, memory_mib=budget)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        assert peak < budget


def test_a_budget_too_small_for_one_row_says_what_it_takes():
    case = random_case(17)
    expected = score_queries(*case)
    with pytest.raises(ConfigError, match="takes at least") as caught:
        score_queries(*case, memory_mib=0.001)
    least = float(str(caught.value).split()[-1])
    found = score_queries(*case, memory_mib=least)
    assert found.average_precision.tobytes() == expected.average_precision.tobytes()
    with pytest.raises(ConfigError, match="takes at least"):
        score_queries(*case, memory_mib=least - 0.002)


def test_a_memory_mapped_gallery_is_accepted(tmp_path):
    case = random_case(18)
    np.save(tmp_path / "gallery.npy", case[2])
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    assert_equals_naive(score_queries(case[0], case[1], mapped, case[3]), naive(*case))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1.01])
def test_vectors_that_are_not_of_unit_norm_are_named(value):
    queries, query_labels, gallery, gallery_labels = random_case(19)
    gallery[5] = 0
    gallery[5, 0] = value
    with pytest.raises(VectorError, match=r"1 of \d+ gallery vectors: .*\(rows 5\)") as caught:
        score_queries(queries, query_labels, gallery, gallery_labels)
    assert caught.value.rows == (5,)


def test_wrong_types_shapes_and_lengths_are_refused():
    queries, query_labels, gallery, gallery_labels = random_case(20)
    with pytest.raises(VectorError, match="float32"):
        score_queries(queries.astype(np.float64), query_labels, gallery, gallery_labels)
    with pytest.raises(VectorError, match="must agree"):
        score_queries(unit(queries[:, :8]), query_labels, gallery, gallery_labels)
    with pytest.raises(DataError, match="one label per vector"):
        score_queries(queries, query_labels[1:], gallery, gallery_labels)
    for own in (np.zeros(3, np.int64), np.full(len(queries), len(gallery)), np.zeros(len(queries))):
        with pytest.raises(ConfigError, match="exclude_self"):
            score_queries(queries, query_labels, gallery, gallery_labels, exclude_self=own)


def made_up(first_rank):
    first_rank = np.asarray(first_rank)
    return PerQuery(first_rank, 1 / first_rank, np.arange(len(first_rank)), 0, 100)


def test_cmc_counts_the_queries_found_by_each_rank():
    scores = summarise(made_up([1, 1, 2, 5, 6, 11, 90, 1]), ranks=(1, 5, 10))
    assert scores.cmc == {1: 3 / 8, 5: 5 / 8, 10: 6 / 8}
    assert scores.to_json()["cmc"] == {"1": 3 / 8, "5": 5 / 8, "10": 6 / 8}
    assert list(scores.to_json()["ci95"]) == ["1", "5", "10", "map"]


def test_the_bootstrap_interval_is_that_of_the_binomial():
    random = np.random.default_rng(21)
    scores = summarise(made_up(np.where(random.random(2000) < 0.8, 1, 3)), draws=2000)
    low, high = scores.ci95["1"]
    error = 1.96 * np.sqrt(scores.cmc[1] * (1 - scores.cmc[1]) / 2000)
    assert low == pytest.approx(scores.cmc[1] - error, abs=0.003)
    assert high == pytest.approx(scores.cmc[1] + error, abs=0.003)
    assert scores == summarise(made_up(np.where(np.random.default_rng(21).random(2000) < 0.8, 1, 3)), draws=2000)


def test_certain_results_have_an_interval_of_no_width():
    assert summarise(made_up([1] * 50)).ci95["map"] == (1.0, 1.0)


def test_a_paired_difference_is_tighter_than_its_parts():
    random = np.random.default_rng(22)
    a = (random.random(1000) < 0.5).astype(float)
    b = a.copy()
    b[:20] = 0
    difference, low, high = paired_difference(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert 0 <= low < difference < high < 0.03
    assert paired_difference(b, a)[0] == -difference
    assert paired_difference(a, a) == (0.0, 0.0, 0.0)


def test_several_runs_widen_the_interval_by_their_spread():
    queries = np.random.default_rng(23).random(2000) * 0.01
    mean, low, high = bootstrap_mean(np.stack([queries, queries + 0.1, queries + 0.2]))
    assert mean == pytest.approx(queries.mean() + 0.1)
    assert low == pytest.approx(queries.mean() + 0.02, abs=0.03)
    assert high > mean + 0.05
    one = bootstrap_mean(queries)
    assert one[2] - one[1] < 0.001


def test_statistics_refuse_what_has_no_answer():
    with pytest.raises(DataError):
        bootstrap_mean(np.empty(0))
    with pytest.raises(DataError):
        bootstrap_mean(np.array([[1.0, np.nan]]))
    with pytest.raises(DataError, match="same queries"):
        paired_difference(np.zeros(3), np.zeros(4))
    with pytest.raises(ConfigError):
        summarise(made_up([1]), ranks=(0,))
    with pytest.raises(ConfigError):
        summarise(made_up([1]), draws=0)


def test_the_cost_curve_runs_from_the_paragon_to_the_baseline():
    curve = cost_curve(100, 7600, ratios=(0, 1, 1e9))
    assert curve.heterogeneous[0] == curve.paragon[0] == 7600
    assert curve.heterogeneous[1] == (7600 + 100) / 2
    assert curve.heterogeneous[2] == pytest.approx(curve.baseline[2], abs=1e-4)
    assert curve.baseline == (100, 100, 100)
    assert curve.paragon == (7600, 7600, 7600)
    assert amortised_cost(100, 7600, float("inf")) == 100
    assert list(curve.to_json()) == ["ratios", "baseline", "heterogeneous", "paragon"]


def test_the_default_cost_curve_falls_all_the_way():
    curve = cost_curve(300, 7600)
    assert all(a > b for a, b in zip(curve.heterogeneous, curve.heterogeneous[1:], strict=False))


@pytest.mark.parametrize("arguments", [(-1, 2, 1), (1, float("nan"), 1), (1, float("inf"), 1), (1, 2, -0.1)])
def test_impossible_costs_are_refused(arguments):
    with pytest.raises(ConfigError, match="at least 0"):
        amortised_cost(*arguments)


def test_an_empty_cost_curve_is_refused():
    with pytest.raises(ConfigError, match="ratios is empty"):
        cost_curve(1, 2, ratios=())


def test_the_rank_correlation_is_pearsons_of_mean_ranks() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: covariance 4.5, squared lengths 4.5 and 5.
    assert rank_correlation([0.1, 0.2, 0.2, 0.3], [1, 3, 2, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None and rank_correlation([1, 2], [1, 2]) is None
    with pytest.raises(ConfigError, match="found 2 and 3 values"):
        rank_correlation([1, 2], [1, 2, 3])


def test_without_ties_the_rank_correlation_is_the_formula_of_squared_rank_differences() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.permutation(20), generator.permutation(20)
    expected = 1 - 6 * float(((first - second) ** 2).sum()) / (20 * (20**2 - 1))
    assert rank_correlation(first, second) == pytest.approx(expected)
