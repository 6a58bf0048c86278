"""Old and new devices together: a canary before the cutover, and an old gallery that goes on after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import ConfigError, DataError, StateError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, add, close, expected, make, names, vectors


@pytest.fixture
def upgraded(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A gallery that was cut over, its side-information, and the old gallery that it keeps."""
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    upgrade.cutover(gallery, unverified=True)
    return gallery, side, gallery / "upgrade" / "before"


def test_the_old_gallery_receives_rows_that_follow_into_the_new_one(upgraded: tuple[Path, Path, Path]) -> None:
    gallery, side, old = upgraded
    add(old, side, ["late-0", "late-1"])
    late = Embeddings(np.array(Gallery.open(old).vectors[-2:]), OLD)
    assert Gallery.open(old).search(late, k=1)[1][0].id == "late-1"
    add(gallery, None, ["both"])
    Gallery.open(old).add(Embeddings(vectors(1, 16, 3), OLD), ["both"], ["late"])
    assert upgrade.follow(gallery, Toy(), side=side) == upgrade.Followed(2, 1)
    assert upgrade.follow(gallery, Toy(), side=side) == upgrade.Followed(0, 3)
    new = Gallery.open(gallery)
    assert new.ids[-3:] == ("both", "late-0", "late-1") and new.labels[-1] == "late" and new.verify() == []
    pairs = Gallery.open(side)
    rows = pairs.vectors[[pairs.ids.index(id) for id in ("late-0", "late-1")]]
    close(new.vectors[-2:], Toy()().apply(late.vectors, rows))


def test_a_rollback_keeps_what_the_old_gallery_received(upgraded: tuple[Path, Path, Path]) -> None:
    gallery, side, old = upgraded
    add(old, side, ["late-0", "late-1"])
    upgrade.follow(gallery, Toy(), side=side)
    Gallery.open(gallery).remove(["image-3"])
    Gallery.open(old).remove(["image-4"])
    before = Gallery.open(old)
    add(gallery, None, ["new-only"])
    with pytest.raises(StateError, match=r"1 rows were added since the cutover .*: new-only;"):
        upgrade.rollback(gallery)
    done = upgrade.rollback(gallery, drop_added=True)
    after = Gallery.open(gallery)
    assert (after.space, done.dropped, done.rows) == (OLD, ("new-only",), 65)
    assert after.ids == tuple(id for id in before.ids if id != "image-3") and after.verify() == []
    kept = [row for row, id in enumerate(before.ids) if id != "image-3"]
    np.testing.assert_array_equal(after.vectors, before.vectors[kept])
    assert upgrade.run(gallery, Toy(), side=side, workers=1).added == 2
    assert upgrade.cutover(gallery, unverified=True).rows == 65


def test_rows_that_the_old_gallery_alone_has_are_not_discarded_unasked(upgraded: tuple[Path, Path, Path]) -> None:
    gallery, side, old = upgraded
    add(old, side, ["late"])
    with pytest.raises(StateError, match=r"1 rows were added to the old gallery alone: late; .*--drop-added"):
        upgrade.discard(gallery, old=True)
    assert upgrade.status(gallery).old_rows == 66
    upgrade.follow(gallery, Toy(), side=side)
    assert upgrade.discard(gallery, old=True) > 0 and "late" in Gallery.open(gallery).ids


def test_rows_that_the_old_gallery_alone_has_may_be_given_up(upgraded: tuple[Path, Path, Path]) -> None:
    gallery, side, old = upgraded
    add(old, side, ["late"])
    assert upgrade.discard(gallery, old=True, drop_added=True) > 0
    assert "late" not in Gallery.open(gallery).ids


def test_what_cannot_follow_is_refused(upgraded: tuple[Path, Path, Path]) -> None:
    gallery, side, old = upgraded
    add(old, None, ["late"])
    with pytest.raises(DataError, match="late"):
        upgrade.follow(gallery, Toy(), side=side)
    with pytest.raises(ConfigError, match="begun with transform version 1, found version 2"):
        upgrade.follow(gallery, Toy(version="2"), side=side)
    upgrade.rollback(gallery)
    with pytest.raises(StateError, match="has not been cut over"):
        upgrade.follow(gallery, Toy(), side=side)


def test_a_canary_has_the_new_rows_of_some_labels_or_of_a_share_that_grows(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    wanted = expected(gallery, side)
    with pytest.raises(StateError, match="holds no upgrade"):
        upgrade.canary(gallery, tmp_path / "none", share=0.5)
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    Gallery.open(gallery).remove(["image-1"])
    by_label = upgrade.canary(gallery, tmp_path / "label", labels=["class-1"])
    assert by_label.ids == tuple(id for id in names(65)[6::5]) and set(by_label.labels) == {"class-1"}
    assert by_label.space == NEW and by_label.verify() == []
    close(by_label.vectors, np.stack([wanted[id] for id in by_label.ids]))
    few, more = (set(upgrade.canary(gallery, tmp_path / str(share), share=share).ids) for share in (0.2, 0.6))
    assert few < more and 0 < len(few) < 30 and "image-1" not in more
    assert len(upgrade.canary(gallery, tmp_path / "all", share=1.0)) == 64
    assert Gallery.open(gallery).space == OLD


def test_a_canary_of_nothing_or_in_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    out = tmp_path / "canary"
    with pytest.raises(ConfigError, match="neither labels nor a share"):
        upgrade.canary(gallery, out)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="share is"):
            upgrade.canary(gallery, out, share=share)
    with pytest.raises(ConfigError, match="no row of"):
        upgrade.canary(gallery, out, labels=["unknown"])
    assert not out.exists()
    with pytest.raises(ConfigError, match="choose another"):
        upgrade.canary(gallery, side, share=0.5)
    assert Gallery.open(side).space == SIDE
