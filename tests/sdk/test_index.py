"""Exact and approximate search: one suite for both, and what no index may see."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import CompatError, ConfigError, GalleryError, MissingExtraError, VectorError
from compat_sdk.index import KINDS, ApproximateIndex, ExactIndex, Index, build_measured, check_vectors
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.index.options import GraphOptions
from compat_sdk.index.recall import Questions

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


LIBRARY = {"exact": "numpy", "exact-threads": "numpy", "exact-faiss": "faiss"} | {
    kind: kind.partition("-")[0] for kind in KINDS
}
"""What each index of the suite needs."""
NATIVE = {
    "numpy": "compat_sdk.index.faiss_flat.OnProcessor.candidates",
    "usearch": "compat_sdk.index.native.usearch",
    "hnswlib": "compat_sdk.index.native.hnswlib",
    "faiss": "compat_sdk.index.native.faiss",
}


def builder(name: str) -> Build:
    pytest.importorskip(LIBRARY[name])
    if name in KINDS:
        # Looks at all of the few rows that this suite has, so that nothing is left to chance.
        whole = {"expansion_add": 1000, "expansion_search": 1000}
        options = {"lists": 4, "probes": 4, "rerank": 900} if name == "faiss-ivfpq" else whole
        return lambda vectors: ApproximateIndex.build(name, vectors, threads=1, **options)
    if name == "exact-threads":
        return lambda vectors: ExactIndex(vectors, threads=3)
    return lambda vectors: ExactIndex(vectors, product="faiss" if name == "exact-faiss" else "numpy")


@pytest.fixture(params=LIBRARY)
def build(request: pytest.FixtureRequest) -> Build:
    return builder(request.param)


def few_lists(kind: str) -> dict[str, int]:
    """Options of a small index: to train hundreds of lists takes seconds."""
    return {"lists": 16} if kind == "faiss-ivfpq" else {}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(LIBRARY[request.param])
    return str(request.param)


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


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_bad_rows_are_named_before_any_engine_sees_them(
    build: Build, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, message = BAD_ROWS[bad]
    vectors = unit_vectors(50)
    vectors[[3, 41]] = value
    index = build(unit_vectors(50))
    for door in NATIVE.values():
        monkeypatch.setattr(door, lambda *_: pytest.fail("native code was reached"))
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
    assert all(np.shares_memory(one, part) for one, part in zip(index._parts.arrays, parts, strict=True) if len(part))
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


def recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in pairs]))


def test_the_defaults_find_95_of_100_nearest_in_clusters(kind: str) -> None:
    vectors, asked = clustered_vectors(2000), clustered_vectors(100, seed=1)
    index = ApproximateIndex.build(kind, vectors, threads=1)
    assert recall(index.search(asked, 10)[0], ExactIndex(vectors).search(asked, 10)[0]) >= 0.95


# ---- filters


@pytest.mark.parametrize("share", [0.004, 0.3, 0.9])
def test_a_filter_gives_the_best_of_the_rows_that_may_be_found(build: Build, share: float) -> None:
    vectors, asked = unit_vectors(900), unit_vectors(8, seed=1)
    among = np.random.default_rng(3).random(900) < share
    rows, scores = build(vectors).search(asked, 5, among=among)
    left = np.flatnonzero(among)
    expected, of_expected = naive_search(vectors[left], asked, 5)
    np.testing.assert_array_equal(rows, left[expected])
    np.testing.assert_allclose(scores, of_expected, atol=2e-6)


def test_a_filter_still_gives_k_where_a_graph_would_find_none_of_them(kind: str) -> None:
    """The rows that may be found are the farthest ones from the query, and too many to be scanned by rule."""
    vectors, asked = clustered_vectors(3000), clustered_vectors(1, seed=1)
    order = np.argsort(-(vectors @ asked[0]))
    among = np.ones(3000, bool)
    among[order[:600]] = False
    index = ApproximateIndex.build(kind, vectors, threads=1, **few_lists(kind))
    rows, scores = index.search(asked, 2, among=among)
    expected, of_expected = ExactIndex(vectors).search(asked, 2, among=among)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, of_expected, atol=1e-6)


def test_a_filter_that_leaves_few_or_none_gives_those(build: Build) -> None:
    index, among = build(unit_vectors(60)), np.zeros(60, bool)
    assert index.search(unit_vectors(2), 5, among=among)[0].shape == (2, 0)
    among[[7, 50]] = True
    np.testing.assert_array_equal(np.sort(index.search(unit_vectors(2), 5, among=among)[0], axis=1), [[7, 50]] * 2)


@pytest.mark.parametrize("among", [[True] * 9, np.ones(8, bool), np.ones(9, np.int64), np.ones((9, 1), bool)])
def test_a_filter_of_other_rows_is_refused(build: Build, among: object) -> None:
    with pytest.raises(ConfigError, match="expected a bool array of 9 values"):
        build(unit_vectors(9)).search(unit_vectors(1), 1, among=among)  # type: ignore[arg-type]


# ---- threads


def test_threads_give_the_answers_of_one(kind: str) -> None:
    vectors, asked = clustered_vectors(600), clustered_vectors(70, seed=1)
    one = ApproximateIndex.build(kind, vectors, threads=1)
    content, expected = one.to_bytes(), one.search(asked, 10)
    again = ApproximateIndex.load(kind, content, 600, 32, lambda: ExactIndex(vectors), threads=3, **one.options)
    for found, wanted in zip(again.search(asked, 10), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    answers = [None] * 6

    def ask(place: int) -> None:
        answers[place] = again.search(asked, 10)  # type: ignore[call-overload]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert answer is not None
        np.testing.assert_array_equal(answer[0], expected[0])


@pytest.mark.parametrize("among", [False, True])
def test_an_exact_search_on_threads_gives_the_bits_of_one(among: bool) -> None:
    vectors = np.concatenate([unit_vectors(70_000, dim=4), np.repeat(unit_vectors(1, dim=4), 70_000, axis=0)])
    asked = np.concatenate([unit_vectors(1, dim=4), unit_vectors(1, dim=4, seed=2)])
    chosen = np.random.default_rng(0).random(len(vectors)) < 0.95 if among else None
    serial = ExactIndex(vectors).search(asked, 30, among=chosen)
    for found, wanted in zip(ExactIndex(vectors, threads=2).search(asked, 30, among=chosen), serial, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_faiss_as_the_first_pass_gives_the_bits_of_numpy() -> None:
    pytest.importorskip("faiss")
    vectors = np.repeat(unit_vectors(500, dim=37), 12, axis=0)  # every score twelve times: more ties than candidates
    parts = [vectors[:5], vectors[5:4000], vectors[4000:4000], vectors[4000:]]
    for queries in (1, 3, 9):
        asked = unit_vectors(queries, dim=37, seed=1)
        expected = ExactIndex(vectors).search(asked, 10)
        for found, wanted in zip(ExactIndex(parts, product="faiss").search(asked, 10), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("option", [{"threads": 0}, {"threads": True}, {"product": "blas"}])
def test_options_of_an_exact_search_out_of_range_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        ExactIndex(unit_vectors(3), **option)  # type: ignore[arg-type]


def test_faiss_on_a_device_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss = pytest.importorskip("faiss")
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    with pytest.raises(ConfigError, match="put faiss-gpu in the place of faiss-cpu"):
        ExactIndex(unit_vectors(3), product="faiss-gpu")
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        ExactIndex(unit_vectors(3), product="faiss-gpu")


def test_a_search_on_a_device_gives_the_bits_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's flat index stands in for the device's, which has the same methods."""
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", lambda _, dim: faiss.IndexFlatIP(dim), raising=False)
    vectors, asked = unit_vectors(300), unit_vectors(40, seed=1)
    index = ExactIndex([vectors[:100], vectors[100:]], product="faiss-gpu")
    for found, wanted in zip(index.search(asked, 7), ExactIndex(vectors).search(asked, 7), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert ExactIndex(vectors[:3], product="faiss-gpu").search(asked, 9)[0].shape == (40, 3)
    with pytest.raises(ConfigError, match="at most 2040 on a CUDA device"):
        ExactIndex(unit_vectors(2100), product="faiss-gpu").search(asked, 2041)


# ---- files


def test_a_saved_index_answers_as_the_one_that_was_built(tmp_path: Path, kind: str) -> None:
    vectors, asked = clustered_vectors(500), clustered_vectors(20, seed=1)
    vectors[7] = vectors[3]
    built = ApproximateIndex.build(kind, vectors, threads=1)
    built.save(tmp_path / "graph")
    for source in (tmp_path / "graph", (tmp_path / "graph").read_bytes()):
        loaded = ApproximateIndex.load(kind, source, 500, 32, lambda: ExactIndex(vectors), **built.options)
        assert len(loaded) == 500 and loaded.dim == 32 and loaded.options == built.options
        np.testing.assert_array_equal(loaded.search(asked, 10)[0], built.search(asked, 10)[0])


@pytest.mark.parametrize(("rows", "dim"), [(499, 32), (500, 31)])
def test_a_graph_over_other_vectors_is_refused(kind: str, rows: int, dim: int) -> None:
    content = ApproximateIndex.build(kind, clustered_vectors(500), threads=1).to_bytes()
    with pytest.raises(GalleryError, match="rebuild the index"):
        ApproximateIndex.load(kind, content, rows, dim, lambda: pytest.fail("no exact search is asked for"))


def test_an_index_of_another_kind_is_refused(kind: str) -> None:
    vectors = clustered_vectors(500)
    content = ApproximateIndex.build(kind, vectors, threads=1).to_bytes()
    for other in set(KINDS) - {kind}:
        pytest.importorskip(LIBRARY[other])
        with pytest.raises(GalleryError, match="rebuild the index"):
            ApproximateIndex.load(other, content, 500, 32, lambda: ExactIndex(vectors))


def test_what_a_library_cannot_read_is_refused_with_advice(kind: str) -> None:
    vectors = clustered_vectors(50)
    content = ApproximateIndex.build(kind, vectors, threads=1).to_bytes()
    cut = content[:-200]
    with pytest.raises(GalleryError, match="rebuild the index") as caught:
        ApproximateIndex.load(kind, cut, 50, 32, lambda: ExactIndex(vectors), vouched=True)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_graph_that_hnswlib_wrote_by_half_becomes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not look whether the disk is full."""
    pytest.importorskip("hnswlib")
    index = ApproximateIndex.build("hnswlib", unit_vectors(50), threads=1)
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: whole(path)[:100])
    with pytest.raises(CompatError, match="set TMPDIR to a folder with more"):
        index.to_bytes()


# ---- settings


def test_the_effort_of_a_search_can_be_set(kind: str) -> None:
    name = "probes" if kind == "faiss-ivfpq" else "expansion_search"
    index = ApproximateIndex.build(kind, unit_vectors(300), threads=1, **{name: 80})
    assert index.effort == 80 == index.options[name]
    index.effort = 200
    assert index.options[name] == 200
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        index.effort = 0


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("usearch", {"connectivity": 1}),
        ("hnswlib", {"expansion_add": 0}),
        ("faiss-hnsw", {"threads": -1}),
        ("faiss-hnsw", {"connectivity": 1 << 17}),
        ("faiss-ivfpq", {"probes": 0}),
        ("faiss-ivfpq", {"code_bytes": 5}),
        ("faiss-ivfpq", {"connectivity": 16}),
        ("usearch", {"M": 16}),
    ],
)
def test_build_options_out_of_range_are_refused(kind: str, option: dict[str, int]) -> None:
    pytest.importorskip(LIBRARY[kind])
    with pytest.raises(ConfigError, match=next(iter(option))):
        ApproximateIndex.build(kind, unit_vectors(20), **option)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="expected one of usearch, hnswlib, faiss-hnsw, faiss-ivfpq"):
        ApproximateIndex.build("annoy", unit_vectors(3))


# ---- a recall that is asked for


def test_a_recall_that_is_asked_for_is_measured_on_rows_that_are_added_afterwards(kind: str) -> None:
    vectors = unit_vectors(1000, dim=24)
    index, measured = build_measured(kind, vectors, 0.9, threads=1, **few_lists(kind))
    assert measured.recall >= 0.9 and measured.queries == 100 and measured.neighbours == 10
    found, scores = index.search(vectors, 1)
    assert (scores > 1 - 1e-5).mean() >= 0.9 and len(np.unique(found)) > 900
    asked = unit_vectors(200, dim=24, seed=1)
    assert recall(index.search(asked, 10)[0], ExactIndex(vectors).search(asked, 10)[0]) >= 0.8


def test_a_higher_recall_takes_no_less_effort(kind: str) -> None:
    vectors = unit_vectors(800, dim=24)
    low, high = (build_measured(kind, vectors, wanted, threads=1, **few_lists(kind))[0] for wanted in (0.5, 0.97))
    assert low.options != high.options
    told = "rerank" if kind == "faiss-ivfpq" else "connectivity"
    assert (low.options[told], low.effort) <= (high.options[told], high.effort)


def test_what_the_user_sets_is_not_chosen(kind: str) -> None:
    name = "probes" if kind == "faiss-ivfpq" else "expansion_search"
    index, _ = build_measured(kind, unit_vectors(400), 0.1, threads=1, **{name: 23})
    assert index.options[name] == 23


def test_a_recall_is_judged_by_the_rows_that_are_named_and_not_by_what_is_said_of_them() -> None:
    exact = ExactIndex(unit_vectors(40))
    asked = Questions.of(exact, unit_vectors(6, seed=1), 4)
    nearest = exact.search(asked.queries, 4)[0]
    assert asked.recall(nearest) == 1 and asked.recall(nearest[:, ::-1]) == 1
    assert asked.recall(np.roll(np.arange(40), 7)[nearest]) < 1  # an index whose row numbers are shifted
    assert asked.recall(np.repeat(nearest[:, :1], 4, axis=1)) == 0.25  # the same row four times
    assert asked.recall(np.where(np.arange(4) < 2, nearest, -1)) == 0.5  # half of them only
    held_in = np.arange(0, 40, 2)
    assert Questions.of(exact, asked.queries, 4, among=held_in).recall(nearest) == 1
    assert (Questions.of(exact, asked.queries, 4, among=held_in).least <= asked.least).all()


def test_a_recall_beyond_reach_is_refused_with_what_was_reached() -> None:
    pytest.importorskip("usearch")
    with pytest.raises(ConfigError, match=r"usearch finds 0\.\d{4} of the nearest rows at most, and 1 is wanted"):
        build_measured("usearch", unit_vectors(800, dim=24), 1, threads=1, connectivity=2, expansion_search=1)


@pytest.mark.parametrize("wanted", [0, -0.1, 1.01, "0.9", True, float("nan")])
def test_a_recall_that_is_no_fraction_is_refused(wanted: object) -> None:
    with pytest.raises(ConfigError, match="expected a number above 0 and at most 1"):
        build_measured("usearch", unit_vectors(200), wanted)  # type: ignore[arg-type]


def test_equal_rows_are_not_enough_to_measure_on() -> None:
    pytest.importorskip("usearch")
    with pytest.raises(ConfigError, match="found 99 different vectors, expected at least 100"):
        build_measured("usearch", np.concatenate([unit_vectors(99)] * 3), 0.9)


# ---- libraries


@pytest.mark.parametrize(("kind", "extra"), [("usearch", "usearch"), ("hnswlib", "hnswlib"), ("faiss-hnsw", "faiss")])
def test_a_missing_library_is_one_sentence_with_the_command(
    kind: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (extra, f"{extra}.index"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'pip install .*\[{extra}\]"'):
        ApproximateIndex.build(kind, unit_vectors(3))


def test_importing_the_index_loads_no_library() -> None:
    code = """
        import sys, compat_sdk.index, compat_sdk.gallery
        sys.exit(any(name in sys.modules for name in ("usearch", "hnswlib", "faiss", "onnxruntime")))
    """
    assert subprocess.run([sys.executable, "-c", dedent(code)], check=False, timeout=60).returncode == 0


def test_an_engine_loads_after_every_index() -> None:
    pytest.importorskip("onnxruntime")  # first: see compat_sdk.index.native
    for library in ("usearch", "hnswlib", "faiss"):
        pytest.importorskip(library)
    code = """
        import numpy as np
        from compat_sdk.index import KINDS, ApproximateIndex
        for kind in KINDS[::-1]:
            ApproximateIndex.build(kind, np.eye(4, dtype=np.float32)).search(np.eye(4, dtype=np.float32), 2)
        import onnxruntime
        onnxruntime.get_available_providers()
    """
    assert subprocess.run([sys.executable, "-c", dedent(code)], check=False, timeout=120).returncode == 0


class _Overlapping:
    """An engine that waits, inside a search, for another search to come in."""

    def __init__(self) -> None:
        self.inside, self.most, self.met = 0, 0, threading.Event()

    options, rounded = GraphOptions(), False

    def search(self, queries: NDArray[np.float32], k: int, *_: object) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside > 1:
            self.met.set()
        self.met.wait(0.1)
        self.inside -= 1
        return np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)


def test_one_search_at_a_time_is_in_the_engine_however_many_threads_ask() -> None:
    engine = _Overlapping()
    equal = EqualRows(4, np.empty((0, 2), np.int64))
    index = ApproximateIndex("usearch", engine, equal, 32, lambda: pytest.fail("no scan"))  # type: ignore[arg-type]
    threads = [threading.Thread(target=index.search, args=(unit_vectors(1, 32), 1)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.most == 1
