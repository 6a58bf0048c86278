"""Pictures that are decoded in every step are those that are decoded once, and damaged ones are named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.datasets import open_dataset
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Source
from compat_train.data.pixels import decode_split
from compat_train.data.streamed import StreamedImages
from compat_train.methods.gallery import train_gallery
from compat_train.nas.global_nas.config import GlobalConfig
from tests.train.test_resume import gallery_config, weights


def test_rows_are_those_of_the_decoded_array(clothes: Path) -> None:
    split = open_dataset(str(clothes)).splits["train"]
    whole = decode_split(split, Preprocessing(size=20)).images
    streamed = StreamedImages(split, Preprocessing(size=20), threads=2)
    assert (streamed.shape, streamed.dtype, len(streamed)) == (whole.shape, whole.dtype, len(whole))
    for rows in (slice(3, 40, 7), np.array([5, 0, 5]), np.array([], np.int64), slice(0, 0), 4, -1):
        assert np.array_equal(streamed[rows], whole[rows])
    with pytest.raises(IndexError):
        streamed[np.array([len(whole)])]


def test_a_training_on_streamed_pictures_ends_with_the_same_weights_and_keeps_none(
    clothes: Path, tmp_path: Path
) -> None:
    config = replace(gallery_config(clothes), optimisation=replace(gallery_config(clothes).optimisation, epochs=1))
    config = replace(config, preprocessing=Preprocessing(size=20))
    train_gallery(config, tmp_path / "decoded")
    train_gallery(replace(config, source=replace(config.source, streamed=True)), tmp_path / "streamed")
    assert weights(tmp_path / "streamed") == weights(tmp_path / "decoded")
    assert list((tmp_path / "decoded" / "pixels").glob("*.pixels"))
    assert not (tmp_path / "streamed" / "pixels").exists()


def test_a_damaged_picture_is_named_by_the_step_that_meets_it(clothes: Path, tmp_path: Path) -> None:
    split = open_dataset(str(clothes)).splits["train"]
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n")
    images = [damaged if row == 1 else image for row, image in enumerate(split.images)]
    streamed = StreamedImages(replace(split, images=images), Preprocessing(size=20))
    assert streamed[np.array([0, 2])].shape == (2, 20, 20, 3)
    with pytest.raises(DataError, match=re.escape(split.ids[1]) + ".*cannot be read.*repair it"):
        streamed[np.array([0, 1])]


def test_what_streaming_cannot_honour_is_refused() -> None:
    with pytest.raises(ConfigError, match="unreadable is 3"):
        Source(data="data", streamed=True, unreadable=3)
    with pytest.raises(ConfigError, match="pixels names a folder"):
        Source(data="data", streamed=True, pixels="kept")
    with pytest.raises(ConfigError, match="streamed is on"):
        GlobalConfig(source=Source(data="data", streamed=True), objective="accuracy")
