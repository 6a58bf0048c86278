"""Exact and approximate search: one suite for both, and what no index may see."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, GalleryError, MissingExtraError, VectorError
from compat_sdk.index import ExactIndex, Index, UsearchIndex, check_vectors
from compat_sdk.index.equal_rows import EqualRows

Build = Callable[[NDArray[np.float32]], Index]


def unit_vectors(n: int, dim: int = 16, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered_vectors(n: int, dim: int = 32, seed: int = 0) -> NDArray[np.float32]:
    centres = unit_vectors(50, dim, seed=7)
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 50, n)] + 0.1 * rng.standard_normal((n, dim)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def naive_search(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


@pytest.fixture(params=["exact", "usearch"])
def build(request: pytest.FixtureRequest) -> Build:
    if request.param == "exact":
        return ExactIndex
    pytest.importorskip("usearch")
    return lambda vectors: UsearchIndex.build(vectors, threads=1)


@pytest.mark.parametrize("queries", [1, 2, 5, 40])
@pytest.mark.parametrize("k", [1, 10, 33])
def test_a_search_finds_what_a_full_sort_finds(build: Build, queries: int, k: int) -> None:
    vectors, asked = unit_vectors(300), unit_vectors(queries, seed=1)
    rows, scores = build(vectors).search(asked, k)
    expected_rows, expected_scores = naive_search(vectors, asked, k)
    assert rows.dtype == np.int64 and scores.dtype == np.float32 and rows.shape == scores.shape == (queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=2e-6)


def test_more_hits_than_rows_gives_every_row_once(build: Build) -> None:
    rows, scores = build(unit_vectors(7)).search(unit_vectors(3, seed=1), 50)
    assert rows.shape == scores.shape == (3, 7)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(7), (3, 1)))
    assert (np.diff(scores, axis=1) <= 0).all()


def test_an_empty_index_answers_with_no_hits(build: Build) -> None:
    rows, scores = build(np.empty((0, 16), np.float32)).search(unit_vectors(2), 5)
    assert rows.shape == scores.shape == (2, 0)


def test_no_queries_give_no_answers(build: Build) -> None:
    rows, scores = build(unit_vectors(9)).search(np.empty((0, 16), np.float32), 5)
    assert rows.shape == scores.shape == (0, 5)


@pytest.mark.parametrize("k", [0, -1, 2.0, "3", True, None])
def test_a_k_that_is_not_a_positive_integer_is_refused(build: Build, k: object) -> None:
    with pytest.raises(ConfigError, match="expected an integer of at least 1"):
        build(unit_vectors(9)).search(unit_vectors(1), k)  # type: ignore[arg-type]


def test_a_numpy_integer_is_a_k(build: Build) -> None:
    assert build(unit_vectors(9)).search(unit_vectors(1), np.int64(4))[0].shape == (1, 4)  # type: ignore[arg-type]


def test_rows_that_are_all_equal_are_returned_in_row_order(build: Build) -> None:
    rows, scores = build(np.repeat(unit_vectors(1), 93, axis=0)).search(unit_vectors(1), 93)
    np.testing.assert_array_equal(rows, [np.arange(93)])
    np.testing.assert_allclose(scores, 1, atol=1e-6)


def test_a_query_of_another_dimension_is_refused(build: Build) -> None:
    with pytest.raises(VectorError, match="dimension 8, expected 16"):
        build(unit_vectors(9)).search(unit_vectors(1, dim=8), 1)


def test_fortran_and_strided_arrays_give_the_same_answer(build: Build) -> None:
    vectors, asked = unit_vectors(60), unit_vectors(4, seed=1)
    expected = build(vectors).search(asked, 5)[0]
    wide = np.repeat(vectors, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(build(np.asfortranarray(vectors)).search(np.asfortranarray(asked), 5)[0], expected)
    np.testing.assert_array_equal(build(wide).search(asked, 5)[0], expected)


BAD_ROWS = {
    "NaN": (np.nan, "NaN or infinity"),
    "infinity": (np.inf, "NaN or infinity"),
    "minus infinity": (-np.inf, "NaN or infinity"),
    "zero": (0.0, "norm zero"),
    "too long": (1.0, "not of unit norm"),
    "so long that the square overflows": (1e30, "not of unit norm"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_named_before_any_engine_sees_them(
    build: Build, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, message = BAD_ROWS[kind]
    vectors = unit_vectors(50)
    vectors[[3, 41]] = value
    index = build(unit_vectors(50))
    monkeypatch.setattr("compat_sdk.index.approximate._usearch", lambda: pytest.fail("the engine was reached"))
    with pytest.raises(VectorError, match=message) as caught:
        build(vectors)
    assert caught.value.rows == (3, 41)
    with pytest.raises(VectorError, match=message) as caught:
        index.search(vectors[:5], 1)
    assert caught.value.rows == (3,)


def test_one_bad_number_in_a_row_is_enough() -> None:
    vectors = unit_vectors(9)
    vectors[4, 15] = np.nan
    with pytest.raises(VectorError) as caught:
        check_vectors(vectors)
    assert caught.value.rows == (4,)


@pytest.mark.parametrize(("length", "accepted"), [(0.9991, True), (1.0009, True), (0.998, False), (1.002, False)])
def test_a_norm_may_be_off_by_a_thousandth(length: float, accepted: bool) -> None:
    vectors = unit_vectors(5) * np.float32(length)
    if accepted:
        assert check_vectors(vectors) is vectors
    else:
        with pytest.raises(VectorError, match="not of unit norm") as caught:
            check_vectors(vectors)
        assert caught.value.rows == (0, 1, 2, 3, 4)


def test_vectors_of_any_length_pass_when_unit_norm_is_not_asked_for() -> None:
    assert len(check_vectors(unit_vectors(5) * 7, unit=False)) == 5
    with pytest.raises(VectorError, match="norm zero"):
        check_vectors(np.zeros((1, 4), np.float32), unit=False)


@pytest.mark.parametrize(
    "vectors",
    [
        [[1.0, 0.0]],
        np.eye(4),
        np.eye(4, dtype=np.float16),
        np.eye(4, dtype=np.uint8),
        np.eye(4, dtype=">f4"),
        np.ones(1, np.float32),
        np.ones((1, 1, 1), np.float32),
        np.empty((3, 0), np.float32),
    ],
)
def test_other_types_and_shapes_are_refused(vectors: object) -> None:
    with pytest.raises(VectorError, match="expected"):
        check_vectors(vectors)


def test_several_arrays_are_searched_as_one_without_a_copy() -> None:
    vectors, asked = unit_vectors(900), unit_vectors(5, seed=1)
    parts = [vectors[:1], vectors[1:600], vectors[600:600], vectors[600:]]
    index = ExactIndex(parts)
    assert all(np.shares_memory(mine, part) for mine, part in zip(index._parts, parts, strict=True) if len(part))
    for found, expected in zip(index.search(asked, 40), ExactIndex(vectors).search(asked, 40), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_bad_rows_of_a_later_array_are_counted_over_all_arrays() -> None:
    bad = unit_vectors(10)
    bad[2] = 0
    with pytest.raises(VectorError) as caught:
        ExactIndex([unit_vectors(10), bad])
    assert caught.value.rows == (12,)


@pytest.mark.parametrize("order", ["ascending", "descending", "random", "duplicated"])
@pytest.mark.parametrize("queries", [1, 3, 1100])
def test_the_order_of_the_rows_does_not_change_the_answer(order: str, queries: int) -> None:
    """Ascending order makes every row a candidate at the moment that it is seen."""
    vectors, query = unit_vectors(3000, dim=8), unit_vectors(1, dim=8, seed=1)
    by_score = np.argsort(vectors @ query[0])
    if order == "ascending":
        vectors = vectors[by_score]
    elif order == "descending":
        vectors = vectors[by_score[::-1]]
    elif order == "duplicated":
        vectors = np.repeat(vectors[:600], 5, axis=0)
    rows, scores = ExactIndex(vectors).search(np.repeat(query, queries, axis=0), 12)
    expected_rows, expected_scores = naive_search(vectors, query, 12)
    np.testing.assert_array_equal(rows, np.repeat(expected_rows, queries, axis=0))
    np.testing.assert_allclose(scores, np.repeat(expected_scores, queries, axis=0), atol=1e-6)


def test_a_score_does_not_depend_on_the_batch_it_was_computed_in() -> None:
    index, asked = ExactIndex(unit_vectors(5000, dim=37)), unit_vectors(70, dim=37, seed=1)
    rows, scores = index.search(asked, 9)
    for i in range(0, 70, 7):
        one_rows, one_scores = index.search(asked[i : i + 1], 9)
        np.testing.assert_array_equal(one_rows[0], rows[i])
        np.testing.assert_array_equal(one_scores[0], scores[i])


def test_the_default_graph_finds_95_of_100_nearest_in_clusters() -> None:
    pytest.importorskip("usearch")
    vectors, asked = clustered_vectors(4000), clustered_vectors(200, seed=1)
    exact = ExactIndex(vectors).search(asked, 10)[0]
    found = UsearchIndex.build(vectors).search(asked, 10)[0]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), found.tolist(), strict=True)])
    assert recall >= 0.95


def test_a_saved_graph_answers_as_the_one_that_was_built(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    vectors, asked = clustered_vectors(500), clustered_vectors(20, seed=1)
    built = UsearchIndex.build(vectors, threads=1)
    built.save(tmp_path / "graph")
    for source in (tmp_path / "graph", (tmp_path / "graph").read_bytes()):
        loaded = UsearchIndex.load(source, 500, 32)
        assert len(loaded) == 500 and loaded.dim == 32
        np.testing.assert_array_equal(loaded.search(asked, 10)[0], built.search(asked, 10)[0])


@pytest.mark.parametrize(("rows", "dim"), [(499, 32), (500, 31)])
def test_a_graph_over_other_vectors_is_refused(rows: int, dim: int) -> None:
    pytest.importorskip("usearch")
    content = UsearchIndex.build(clustered_vectors(500), threads=1).to_bytes()
    with pytest.raises(GalleryError, match="rebuild the index"):
        UsearchIndex.load(content, rows, dim)


def test_expansion_search_can_be_set() -> None:
    pytest.importorskip("usearch")
    index = UsearchIndex.build(unit_vectors(20), threads=1, expansion_search=80)
    assert index.expansion_search == 80
    index.expansion_search = 200
    assert index.expansion_search == 200
    with pytest.raises(ConfigError, match="expansion_search is 0"):
        index.expansion_search = 0


@pytest.mark.parametrize("option", [{"connectivity": 1}, {"expansion_add": 0}, {"threads": -1}])
def test_build_options_out_of_range_are_refused(option: dict[str, int]) -> None:
    pytest.importorskip("usearch")
    with pytest.raises(ConfigError, match=next(iter(option))):
        UsearchIndex.build(unit_vectors(20), **option)


def test_a_missing_engine_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    monkeypatch.setitem(sys.modules, "usearch", None)
    with pytest.raises(MissingExtraError, match=r'pip install .*\[usearch\]"'):
        UsearchIndex.build(unit_vectors(3))


def test_importing_the_index_loads_no_engine() -> None:
    code = "import sys, compat_sdk.index.approximate, compat_sdk.gallery; sys.exit('usearch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_an_engine_loads_after_the_index() -> None:
    pytest.importorskip("onnxruntime")  # first: see compat_sdk.index.approximate
    pytest.importorskip("usearch")
    code = """
        import numpy as np
        from compat_sdk.index import UsearchIndex
        UsearchIndex.build(np.eye(4, dtype=np.float32))
        import onnxruntime
        onnxruntime.get_available_providers()
    """
    assert subprocess.run([sys.executable, "-c", dedent(code)], check=False, timeout=120).returncode == 0


class _Overlapping:
    """An engine that waits, inside a search, for another search to come in."""

    def __init__(self) -> None:
        self.inside, self.most, self.met = 0, 0, threading.Event()

    def search(self, queries: NDArray[np.float32], k: int, **_: object) -> object:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside > 1:
            self.met.set()
        self.met.wait(0.1)
        self.inside -= 1
        keys, distances = np.zeros((len(queries), k), np.uint64), np.zeros((len(queries), k), np.float32)
        return SimpleNamespace(keys=keys, distances=distances)


def test_one_search_at_a_time_is_in_the_engine_however_many_threads_ask() -> None:
    engine = _Overlapping()
    index = UsearchIndex(engine, EqualRows(4, np.empty((0, 2), np.int64)), 32)
    threads = [threading.Thread(target=index.search, args=(unit_vectors(1, 32), 1)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.most == 1
