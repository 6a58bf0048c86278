"""Partial backfilling: orders, the gallery in between, and the curve."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError, VectorError
from compat_sdk.metrics import upgrade_gain
from compat_sdk.metrics.scores import discriminativeness_degradation
from compat_sdk.upgrade.backfill import alignment_errors, backfill_curve, backfill_order, partly_backfilled

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture
def upgrade() -> tuple[Vectors, list[str], Vectors, Vectors, list[str]]:
    """Queries, their labels, a transformed gallery with errors of very different size, the new one, its labels."""
    random = np.random.default_rng(0)
    centres = unit(random.normal(size=(30, 16)))
    rows = np.repeat(np.arange(30), 6)
    new = unit(centres[rows] + 0.05 * random.normal(size=(180, 16)))
    wrong = 2.0 * random.random(180) ** 3
    transformed = unit(new + wrong[:, None] * random.normal(size=(180, 16)) / 2)
    queries = unit(centres + 0.05 * random.normal(size=(30, 16)))
    return queries, [str(row) for row in range(30)], transformed, new, [str(row) for row in rows]


def test_the_most_uncertain_row_is_first_and_ties_keep_the_gallerys_order() -> None:
    assert backfill_order(np.array([0.5, 2.0, 0.5, -1.0])).tolist() == [1, 0, 2, 3]
    assert backfill_order(np.zeros(0)).tolist() == []


def test_an_uncertainty_that_is_no_number_is_refused_with_its_rows() -> None:
    with pytest.raises(VectorError, match="2 of 3 rows, first row 0") as caught:
        backfill_order(np.array([np.nan, 1.0, np.inf]))
    assert list(caught.value.rows) == [0, 2]
    with pytest.raises(VectorError, match="shape"):
        backfill_order(np.zeros((2, 2)))


def test_errors_are_distances() -> None:
    a, b = np.array([[1, 0], [1, 0]], np.float32), np.array([[1, 0], [0, 1]], np.float32)
    assert alignment_errors(a, b).tolist() == pytest.approx([0.0, 2**0.5])
    with pytest.raises(VectorError, match=r"shape \[2, 2\] and new ones \[1, 2\]"):
        alignment_errors(a, b[:1])


def test_the_first_rows_of_the_order_are_new_and_the_rest_transformed(
    upgrade: tuple[Vectors, list[str], Vectors, Vectors, list[str]],
) -> None:
    _, _, transformed, new, _ = upgrade
    order = np.random.default_rng(1).permutation(180)
    before = transformed.copy()
    half = partly_backfilled(transformed, new, order, 0.5)
    assert np.array_equal(half[order[:90]], new[order[:90]])
    assert np.array_equal(half[order[90:]], transformed[order[90:]])
    assert np.array_equal(transformed, before)
    assert np.array_equal(partly_backfilled(transformed, new, order, 0.0), transformed)
    assert np.array_equal(partly_backfilled(transformed, new, order, 1.0), new)


def test_the_curve_ends_at_the_two_galleries_and_the_oracle_is_above_chance(
    upgrade: tuple[Vectors, list[str], Vectors, Vectors, list[str]],
) -> None:
    queries, query_labels, transformed, new, labels = upgrade
    oracle = backfill_curve(
        queries, query_labels, transformed, new, labels, backfill_order(alignment_errors(transformed, new))
    )
    orders = [np.random.default_rng(seed).permutation(180) for seed in range(3)]
    chance = [backfill_curve(queries, query_labels, transformed, new, labels, order) for order in orders]
    assert {(curve.map[0], curve.map[-1]) for curve in (*chance, oracle)} == {(oracle.map[0], oracle.map[-1])}
    assert oracle.map[-1] > oracle.map[0]
    assert oracle.mean_map > max(curve.mean_map for curve in chance)


def test_a_query_does_not_find_its_own_image(
    upgrade: tuple[Vectors, list[str], Vectors, Vectors, list[str]],
) -> None:
    transformed, new = upgrade[2:4]
    order, alone = np.arange(180), list(map(str, range(180)))
    assert backfill_curve(new, alone, transformed, new, alone, order).top1[-1] == 1
    with pytest.raises(DataError, match="apart from itself"):
        backfill_curve(new, alone, transformed, new, alone, order, exclude_self=order)


def test_the_mean_of_a_curve_is_its_area(upgrade: tuple[Vectors, list[str], Vectors, Vectors, list[str]]) -> None:
    queries, query_labels, transformed, new, labels = upgrade
    curve = backfill_curve(
        queries, query_labels, transformed, new, labels, np.arange(180), fractions=(0.2, 0.4, 1.0), memory_mib=64
    )
    low, middle, high = curve.map
    assert curve.mean_map == pytest.approx(((low + middle) / 2 * 0.2 + (middle + high) / 2 * 0.6) / 0.8)
    assert curve.to_json()["mean_top1"] == curve.mean_top1


@pytest.mark.parametrize(
    ("order", "fractions", "says"),
    [
        (np.arange(179), (0.0, 1.0), "179 entries; expected each of the 180"),
        (np.zeros(180, np.int64), (0.0, 1.0), "each of the 180 gallery rows once"),
        (np.arange(180), (0.0, 1.5), "at most 1"),
        (np.arange(180), (0.5, 0.5), "larger than the one before"),
        (np.arange(180), (1.0,), "at least two"),
    ],
)
def test_an_order_or_shares_that_cannot_be_are_refused(
    order: NDArray[np.int64],
    fractions: tuple[float, ...],
    says: str,
    upgrade: tuple[Vectors, list[str], Vectors, Vectors, list[str]],
) -> None:
    queries, query_labels, transformed, new, labels = upgrade
    with pytest.raises(ConfigError, match=says):
        backfill_curve(queries, query_labels, transformed, new, labels, order, fractions=fractions)


def test_upgrade_gain_and_degradation_are_those_of_table_1() -> None:
    # Of the paper DMU, 30 % to 100 % of the data: 18.93 -> 22.56 and 25.58 -> 25.00.
    assert 100 * upgrade_gain(22.56, 18.93) == pytest.approx(19.18, abs=0.005)
    assert 100 * discriminativeness_degradation(25.58, 25.00) == pytest.approx(2.27, abs=0.005)
    assert discriminativeness_degradation(0.5, 0.6) < 0 < upgrade_gain(0.6, 0.5)


def test_a_system_that_finds_nothing_has_no_relative_gain() -> None:
    with pytest.raises(DataError, match=r"M\(old, old\) is 0"):
        upgrade_gain(0.5, 0.0)
    with pytest.raises(DataError, match="oracle"):
        discriminativeness_degradation(0.0, 0.5)
