"""Side-information that is missing, and side-information that moves on to the next model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import ConfigError, DataError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from tests.sdk import transforms
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, add, close, make, names, unit


def test_rows_without_side_information_take_zeros_when_told_and_are_counted(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    Gallery.open(side).remove(["image-3", "image-60"])
    old, given = Gallery.open(gallery), Gallery.open(side)
    with pytest.raises(DataError, match=r"image-3, image-60; .*--missing-side zeros"):
        upgrade.run(gallery, Toy(), side=side, workers=1)
    assert upgrade.plan(gallery, Toy(), side=side, missing_side="zeros").without_side == 2
    done = upgrade.run(gallery, Toy(), side=side, workers=1, shard_rows=10, block_rows=4, missing_side="zeros")
    assert (done.rows, done.without_side) == (65, 2)
    add(gallery, None, ["late"])
    with pytest.raises(DataError, match="late"):
        upgrade.cutover(gallery, Toy(), side=side, unverified=True)
    upgrade.cutover(gallery, Toy(), side=side, unverified=True, missing_side="zeros", workers=1)
    new = Gallery.open(gallery)
    for id in ("image-3", "image-4", "image-60"):
        row = np.zeros((1, 8), np.float32) if id != "image-4" else given.vectors[[given.ids.index(id)]]
        close(new.vectors[[new.ids.index(id)]], unit(Toy()().apply(old.vectors[[old.ids.index(id)]], row)))
    assert new.ids[-1] == "late" and upgrade.verify(gallery, Toy()).problems == ()


def test_what_becomes_of_missing_side_information_must_make_sense(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    for call in (upgrade.run, upgrade.plan):
        with pytest.raises(ConfigError, match="missing_side is 'ones', expected refuse or zeros"):
            call(gallery, Toy(), side=side, missing_side="ones")  # type: ignore[operator]
        with pytest.raises(ConfigError, match="missing_side is zeros, but this transform takes no side-information"):
            call(gallery, Toy(None), missing_side="zeros")


def test_a_bundle_takes_rows_of_zeros_for_side_information_and_no_other_rows_without_a_direction(
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxruntime")
    from compat_sdk.errors import VectorError
    from compat_sdk.transform import Transform

    transforms.make_transform(tmp_path / "h", graph_files={"model.onnx": transforms.onnx_transform()})
    opened = Transform.load(tmp_path / "h", engine="onnxruntime", missing_side="zeros")
    old, side = transforms.unit_rows(4, 6, 5), transforms.unit_rows(4, 3, 6)
    side[2] = 0
    assert np.isfinite(opened.apply(old, side)).all()
    with pytest.raises(VectorError, match=r"only zeros in 1 of 4 rows, first row 2; .*missing_side='zeros'") as told:
        Transform.load(tmp_path / "h", engine="onnxruntime").apply(old, side)
    assert told.value.rows == (2,)
    with pytest.raises(ConfigError, match="missing_side is"):
        Transform.load(tmp_path / "h", engine="onnxruntime", missing_side="ones")  # type: ignore[arg-type]
    side[1] *= 2
    with pytest.raises(VectorError, match="the side") as caught:
        opened.apply(old, side)
    assert caught.value.rows == (1,)
    with pytest.raises(VectorError, match="the old"):
        opened.apply(np.zeros_like(old), side)


@pytest.mark.parametrize("cut_over", [False, True])
def test_side_information_is_upgraded_as_a_gallery_of_its_own(tmp_path: Path, cut_over: bool) -> None:
    gallery, side = make(tmp_path)
    old, before = Gallery.open(gallery), Gallery.open(side)
    if cut_over:  # its old vectors are those that the transform reads, and it still keeps them
        upgrade.run(gallery, Toy(), side=side, workers=1)
        upgrade.cutover(gallery, unverified=True)
    assert upgrade.plan(side, Toy(), side=gallery).remaining == 65
    done = upgrade.run(side, Toy(), side=gallery, shard_rows=20, workers=1)
    assert done.rows == 65
    assert upgrade.verify(side, Toy()).problems == ()
    upgrade.cutover(side, Toy(), side=gallery, unverified=True)
    new = Gallery.open(side)
    assert (new.space, new.ids) == (NEW, before.ids)
    paired = old.vectors[[old.ids.index(id) for id in before.ids]]
    close(new.vectors, unit(Toy()().apply(paired, before.vectors)))
    assert upgrade.verify(side, Toy()).problems == ()
    upgrade.rollback(side)
    assert Gallery.open(side).space == SIDE


def test_side_information_is_not_upgraded_without_the_embeddings_that_its_transform_reads(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    with pytest.raises(ConfigError, match="--side"):
        upgrade.run(side, Toy(), workers=1)
    with pytest.raises(IncompatibleSpaceError, match="side-information"):
        upgrade.run(side, Toy(), side=side, workers=1)
    Gallery.open(gallery).remove(names(3))
    with pytest.raises(DataError, match="3 of 65 rows"):
        upgrade.run(side, Toy(), side=gallery, workers=1)
    assert Gallery.open(gallery).space == OLD
