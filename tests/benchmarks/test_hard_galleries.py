"""Scores of the study on kanji-hard: per identity over draws, and identification in half a gallery."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.accuracy.hard_galleries import Search, UnseenImages, scores_of, values_of
from compat_sdk.datasets import Split

LABELS = ("a", "a", "a", "b", "b", "b", "c", "c", "d", "d")
NAMES = [f"{label}/{place}" for place, label in enumerate(LABELS)]
DRAWS = ([1, 2, 4, 5, 7, 9], [0, 3, 6, 8]), ([0, 2, 3, 5, 6, 8], [1, 4, 7, 9])


def images() -> UnseenImages:
    split = Split(name="query", images=np.zeros((10, 2, 2), np.uint8), labels=LABELS, ids=tuple(NAMES))
    searches = [Search(np.array(asking), np.array(stored), "unseen") for asking, stored in DRAWS]
    return UnseenImages({"unseen": split}, {"hard 1": searches})


def vectors() -> dict[str, np.ndarray]:
    """Each identity on an axis of its own, but for image 2, which looks like b."""
    found = np.eye(4, dtype=np.float32)[["abcd".index(label) for label in LABELS]]
    found[2] = np.eye(4, dtype=np.float32)[1]
    return {"unseen": found}


def test_figures_are_means_over_the_queries_of_each_identity_and_over_draws() -> None:
    found = scores_of(images(), "hard 1", vectors(), vectors())
    assert found.by_draw["top-1"] == pytest.approx([5 / 6, 5 / 6])
    assert found.by_identity["top-1"].tolist() == [0.5, 1, 1, 1]
    assert found.by_identity["TPIR"].shape == (4,) and 0 <= found.by_identity["TPIR"].min()
    assert found.by_identity["TPIR"][0] <= 0.5, "what is not found is not identified"


def test_figures_come_back_from_a_row() -> None:
    found = scores_of(images(), "hard 1", vectors(), vectors())
    row = found.to_json()
    for metric, values in found.by_identity.items():
        assert np.allclose(values_of(row, metric), values, atol=1e-3)
