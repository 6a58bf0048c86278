"""No search is judged on a picture that finds itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import Split, open_dataset
from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing
from compat_sdk.spread import spread
from compat_train.data.training_set import load_training_set
from compat_train.nas.global_nas.images import search_images
from compat_train.nas.held_out import sides, thinned
from tests.train.nas.test_global_run import tiny


def validation(pictures: str, labels: str) -> Split:
    """A picture per letter, equal where the letters are."""
    images = np.stack([np.full((4, 4), ord(letter), np.uint8) for letter in pictures])
    return Split("val", images, tuple(labels), tuple(map(str, range(len(labels)))))


def test_a_query_whose_very_picture_is_on_the_gallery_side_is_none() -> None:
    queries, others = sides(validation("abcdef", "xxxyyy"))
    assert (queries.tolist(), others.tolist()) == ([1, 4], [0, 2, 3, 5])
    queries, others = sides(validation("aacdefgg", "xxxxyyzz"))  # row 1 is row 0's picture, row 7 row 6's
    assert (queries.tolist(), others.tolist()) == ([3, 5], [0, 2, 4])
    with pytest.raises(DataError, match=r"1 identities .* that are not copies"):
        sides(validation("aabc", "xxyy"))


def test_every_query_of_a_thinned_side_keeps_a_match() -> None:
    labels = np.repeat(np.arange(40), 5)
    queries, gallery = np.arange(0, 200, 5), np.setdiff1d(np.arange(200), np.arange(0, 200, 5))
    for most in ((0, 0), (40, 160), (30, 60), (40, 40), (40, 7), (7, 3)):
        few, rows = thinned(labels, queries, gallery, *most)
        assert set(labels[few]) <= set(labels[rows])
        assert len(few) <= (most[0] or 40) and len(rows) == (most[1] or 160)

        assert set(few) <= set(queries) and set(rows) <= set(gallery) and (np.diff(rows) > 0).all()
    whole = thinned(labels, queries, gallery, 40, 80)  # evenly spaced rows serve: they are taken as they are
    assert whole[1].tolist() == gallery[spread(160, 80)].tolist()


def test_sides_that_the_split_marks_itself_are_compared_too() -> None:
    split = dataclasses.replace(validation("abab", "xyxy"), query_side=(True, True, False, False))
    with pytest.raises(DataError, match="0 identities"):
        sides(split)


def test_links_and_copies_of_files_are_known(tmp_path: Path) -> None:
    for label in "xyz":
        for number in range(4):
            (tmp_path / "val" / label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (ord(label), number, 0)).save(tmp_path / "val" / label / f"{number}.png")
    copy = tmp_path / "val" / "x" / "1.png"
    copy.write_bytes(copy.with_name("0.png").read_bytes())
    (tmp_path / "val" / "y" / "3.png").unlink()
    (tmp_path / "val" / "y" / "3.png").symlink_to(tmp_path / "val" / "y" / "2.png")
    split = open_dataset(tmp_path).split("val")
    found = [split.ids[row] for row in sides(split)[0]]
    assert found == ["val/x/3.png", "val/y/1.png", "val/z/1.png", "val/z/3.png"]


def test_held_out_training_images_are_no_queries_where_the_gallery_has_them(clothes: Path, tmp_path: Path) -> None:
    config, preprocessing = tiny(clothes, objective="retrieval"), Preprocessing(size=28)
    dataset, data = open_dataset(clothes), load_training_set(config.source, preprocessing)
    apart = search_images(config, dataset, data, preprocessing, None, tmp_path)
    pixels = data.pixels.copy()
    same = (pixels[:, None] == apart.queries[0]).all((2, 3, 4))[:, 0]
    pixels[same] = apart.gallery[0]
    copied = dataclasses.replace(data, pixels=pixels)
    found = search_images(config, dataset, copied, preprocessing, None, tmp_path)
    assert len(found.queries) == len(apart.queries) - 1 and found.query_labels == apart.query_labels[1:]
    with pytest.raises(DataError, match="every held-out query"):
        blank = dataclasses.replace(data, pixels=np.zeros_like(pixels))
        search_images(config, dataset, blank, preprocessing, None, tmp_path)
