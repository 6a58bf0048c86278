"""An approximate index over rows of which many are equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import GalleryError
from compat_sdk.gallery import Gallery
from compat_sdk.index import ApproximateIndex, ExactIndex
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.space import Embeddings

pytest.importorskip("usearch")


def unit(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("equal", [1, 300, 1000])
@pytest.mark.parametrize("where", ["first", "mixed", "last"])
def test_equal_rows_do_not_hide_the_others(equal: int, where: str) -> None:
    blank, others = np.repeat(unit(1, seed=9), equal, axis=0), unit(800)
    rows = np.concatenate([others, blank] if where == "last" else [blank, others])
    if where == "mixed":
        rows = rows[np.random.default_rng(1).permutation(len(rows))]
    queries = unit(200, seed=2)
    _, wanted = ExactIndex(rows).search(queries, 10)
    index = ApproximateIndex.build("usearch", rows, threads=1)
    found, scores = index.search(queries, 10)
    assert (scores >= wanted[:, -1:] - 1e-6).mean() >= 0.95
    assert all(len(set(line)) == 10 for line in found.tolist())
    np.testing.assert_allclose(np.einsum("qkd,qd->qk", rows[found], queries), scores, atol=1e-5)


def test_all_equal_rows_are_found_in_order_and_cut_where_k_ends() -> None:
    rows = np.concatenate([unit(3), np.repeat(unit(1, seed=9), 5, axis=0), unit(2, seed=3)])
    index = ApproximateIndex.build("usearch", rows, threads=1)
    for k in (1, 3, 5, 7, 10, 50):
        found, scores = index.search(rows[3:4], k)
        exact_rows, exact_scores = ExactIndex(rows).search(rows[3:4], k)
        np.testing.assert_array_equal(found, exact_rows)
        np.testing.assert_allclose(scores, exact_scores, atol=1e-6)


def test_rows_that_are_all_one_vector_are_an_index_too() -> None:
    index = ApproximateIndex.build("usearch", np.repeat(unit(1), 40, axis=0), threads=1)
    found, scores = index.search(unit(2, seed=1), 10)
    np.testing.assert_array_equal(found, [list(range(10))] * 2)
    assert (np.diff(scores, axis=1) == 0).all()


def test_the_file_keeps_which_rows_are_equal_and_is_the_engines_alone_without_any(tmp_path: Path) -> None:
    rows = np.concatenate([unit(20), unit(20)])
    index = ApproximateIndex.build("usearch", rows, threads=1)
    again = ApproximateIndex.load("usearch", index.to_bytes(), 40, 16, lambda: ExactIndex(rows))
    np.testing.assert_array_equal(again.search(rows[:5], 4)[0], index.search(rows[:5], 4)[0])
    assert EqualRows.of(unit(20)).to_bytes() == b""


@pytest.mark.parametrize("damage", [slice(-40, -30), slice(-29, -21), slice(-60, -50)])
def test_equal_rows_of_another_gallery_are_refused(damage: slice) -> None:
    rows = np.concatenate([unit(20), unit(20)])
    content = bytearray(ApproximateIndex.build("usearch", rows, threads=1).to_bytes())
    content[damage] = b"\xff" * (damage.stop - damage.start)
    with pytest.raises(GalleryError, match="equal rows are not the gallery's"):
        ApproximateIndex.load("usearch", bytes(content), 40, 16, lambda: ExactIndex(rows), vouched=True)


def test_verify_is_content_with_a_gallery_of_many_equal_rows(tmp_path: Path) -> None:
    rows = np.concatenate([unit(300), np.repeat(unit(1, seed=5), 300, axis=0)])
    gallery = Gallery.create(tmp_path / "g", space="s", dim=16)
    gallery.add(Embeddings(rows, "s"), [str(row) for row in range(len(rows))])
    gallery.build_index(threads=1)
    assert Gallery.open(gallery.path).verify() == []


def test_scores_never_pass_one(tmp_path: Path) -> None:
    rows = unit(2000, dim=128)
    gallery = Gallery.create(tmp_path / "g", space="s", dim=128)
    gallery.add(Embeddings(rows, "s"), [str(row) for row in range(len(rows))])
    gallery.build_index(threads=1)
    for kind in ("exact", "usearch"):
        scores = gallery.search_rows(Embeddings(rows, "s"), 2, kind)[1]
        assert scores.max() <= 1 and scores.min() >= -1
