from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_export.check.parity import compare_embeddings, measure_parity, require_parity
from compat_sdk.errors import CheckFailedError


class PlantedEngine:
    """Returns the first ``dim`` numbers of each input, wrong in one place at one batch size."""

    name = "planted"

    def __init__(self, dim: int, wrong_batch: int | None = None) -> None:
        self.dim = dim
        self.wrong_batch = wrong_batch
        self.batches: list[int] = []

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        found = images.reshape(len(images), -1)[:, : self.dim].copy()
        if len(images) == self.wrong_batch:
            found[-1, 0] += 0.01
        return found


def unit(rows: int, dim: int = 48) -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_equal_embeddings_have_perfect_parity() -> None:
    parity = compare_embeddings(unit(4), unit(4))
    assert parity.max_abs_difference == 0
    assert parity.worst_cosine == pytest.approx(1, abs=1e-12)
    assert parity.mean_cosine == pytest.approx(1, abs=1e-12)
    assert parity.rows == 4


def test_parity_is_the_worst_image_not_the_mean() -> None:
    a = np.array([[1, 0], [1, 0]], np.float32)
    b = np.array([[1, 0], [0.6, 0.8]], np.float32)
    parity = compare_embeddings(a, b)
    assert parity.max_abs_difference == pytest.approx(0.8)
    assert parity.worst_cosine == pytest.approx(0.6)
    assert parity.mean_cosine == pytest.approx(0.8)


def test_every_image_is_run_alone_and_in_full_batches_of_five() -> None:
    engine = PlantedEngine(48)
    vectors = unit(8)
    parity = measure_parity(engine, [vectors.reshape(8, 3, 4, 4)], vectors)
    assert engine.batches == [1] * 8 + [5, 5]
    assert parity.rows == 18
    assert parity.max_abs_difference == 0


@pytest.mark.parametrize("batch", [1, 5])
def test_an_error_at_one_batch_size_only_is_caught(batch: int) -> None:
    vectors = unit(8)
    parity = measure_parity(PlantedEngine(48, wrong_batch=batch), [vectors.reshape(8, 3, 4, 4)], vectors)
    assert parity.max_abs_difference == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(CheckFailedError, match="nothing was written") as caught:
        require_parity(parity, "the onnx fp32 graph of planted")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_fail_the_check(value: float) -> None:
    found = unit(3)
    found[1, 2] = value
    with pytest.raises(CheckFailedError):
        require_parity(compare_embeddings(unit(3), found), "the graph")


def test_a_zero_vector_fails_the_check() -> None:
    found = unit(3)
    found[1] = 0
    with pytest.raises(CheckFailedError):
        require_parity(compare_embeddings(unit(3), found), "the graph")


def test_a_graph_that_forgets_to_normalise_is_caught() -> None:
    with pytest.raises(CheckFailedError):
        require_parity(compare_embeddings(unit(3), 2 * unit(3)), "the graph")


def test_another_dimension_is_named_with_both_shapes() -> None:
    vectors = unit(8)
    with pytest.raises(CheckFailedError, match=r"\[1, 16\].*\[1, 48\]"):
        measure_parity(PlantedEngine(16), [vectors.reshape(8, 3, 4, 4)], vectors)


def test_nothing_to_compare_is_a_failed_check() -> None:
    with pytest.raises(CheckFailedError):
        compare_embeddings(unit(0), unit(0))


def test_each_precision_has_its_own_bound() -> None:
    found = unit(3).copy()
    found[0] = np.roll(found[0], 1) * 0.05 + found[0]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    parity = compare_embeddings(unit(3), found.astype(np.float32))
    assert 0.99 < parity.worst_cosine < 0.9999
    require_parity(parity, "the graph", precision="int8")
    with pytest.raises(CheckFailedError, match="worst cosine"):
        require_parity(parity, "the graph")
    with pytest.raises(CheckFailedError, match="choose a higher precision"):
        require_parity(parity, "the graph", precision="int8", min_cosine=0.99999)
