"""Images that candidates of a global search learn from, and those that judge them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.data.training_set import load_training_set
from compat_train.nas.global_nas.images import alternate, held_out_rows
from compat_train.nas.global_nas.prepare import prepare
from tests.train.nas.test_global_run import tiny


def test_retrieval_without_one_is_judged_on_held_out_training_images(clothes: Path, tmp_path: Path) -> None:
    prepared = prepare(tiny(clothes, objective="retrieval"), tmp_path)
    # 12 images of each of 4 classes: a tenth would be one, and retrieval needs two.
    assert len(prepared.images.data.labels) == 40 and len(prepared.data.labels) == 48
    assert sorted(prepared.images.query_labels) == sorted(prepared.images.gallery_labels) == list(prepared.data.classes)
    judging = {pixels.tobytes() for pixels in (*prepared.images.queries, *prepared.images.gallery)}
    assert len(judging) == 8 and not judging & {pixels.tobytes() for pixels in prepared.images.data.pixels}


def test_classification_is_judged_on_a_validation_split_of_known_classes(
    clothes: Path, identities: Path, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    shutil.copytree(clothes, known)
    (known / "query").rename(known / "val")
    shutil.copytree(clothes / "query", known / "query")
    prepared = prepare(tiny(known), tmp_path / "run")
    assert prepared.test is not None and (prepared.images.queries == prepared.test[0]).all()
    assert prepared.images.query_labels == prepared.test[1] and not len(prepared.images.gallery)
    assert prepared.images.data is prepared.data
    with pytest.raises(ConfigError, match="has a split 'val', which judges the candidates"):
        prepare(tiny(known, held_out=0.2), tmp_path / "run")
    # One class more, and it cannot judge.
    shutil.copytree(next((known / "val").iterdir()), known / "val" / "unknown")
    assert len(prepare(tiny(known), tmp_path / "run").images.data.labels) == 44


def test_held_out_images_are_a_share_of_each_class_by_the_seed() -> None:
    labels = np.repeat(np.arange(3), (10, 20, 40))
    held = held_out_rows(labels, "abc", 0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [1, 2, 4] and (np.diff(held) > 0).all()
    assert (held == held_out_rows(labels, "abc", 0.1, seed=0)).all()
    assert not np.array_equal(held, held_out_rows(labels, "abc", 0.1, seed=1))
    assert alternate(np.array([0, 1, 0, 0, 1])).tolist() == [False, False, True, False, True]


def test_other_pixels_are_another_search(clothes: Path, tmp_path: Path) -> None:
    images = prepare(tiny(clothes), tmp_path).images
    assert images.digest == prepare(tiny(clothes), tmp_path).images.digest
    changed = images.data.pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    assert replace(images, data=replace(images.data, pixels=changed)).digest != images.digest


@pytest.mark.parametrize("mapped", [False, True])
def test_images_that_candidates_learn_from_are_the_others(clothes: Path, tmp_path: Path, mapped: bool) -> None:
    settings = tiny(clothes if mapped else "sample")
    images = prepare(settings, tmp_path).images
    assert isinstance(images.data.pixels, np.memmap) == mapped
    whole = load_training_set(settings.source, Preprocessing(size=28))
    held = held_out_rows(whole.labels, whole.classes, 0.1, 0)
    rest = np.setdiff1d(np.arange(len(whole.labels)), held)
    assert (images.data.pixels == whole.pixels[rest]).all() and (images.queries == whole.pixels[held]).all()
    assert (images.data.labels == whole.labels[rest]).all()
