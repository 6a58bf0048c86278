"""Old and new devices together: a canary before the cutover, and an old gallery that goes on after it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import ConfigError, DataError, GalleryError, StateError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk.upgrade import toy
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, add, close, expected, make, names, vectors


def _stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


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


@pytest.mark.parametrize("rotten", ["old", "side"])
def test_rotten_rows_do_not_follow_under_a_fresh_digest(upgraded: tuple[Path, Path, Path], rotten: str) -> None:
    gallery, side, old = upgraded
    add(old, side, ["late-0"])
    newest = max((old if rotten == "old" else side).glob("vectors-*"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x01")
    before = toy.contents(gallery)
    with pytest.raises(GalleryError, match="SHA-256"):
        upgrade.follow(gallery, Toy(), side=side)
    assert toy.contents(gallery) == before


def test_what_is_kept_beside_a_row_follows_it(upgraded: tuple[Path, Path, Path]) -> None:
    gallery, side, old = upgraded
    Gallery.open(old).add(Embeddings(vectors(1, 16, 3), OLD), ["late"], payload=[{"price": 3}])
    Gallery.open(side).add(Embeddings(vectors(1, 8, 4), SIDE), ["late"])
    upgrade.follow(gallery, Toy(), side=side)
    assert Gallery.open(gallery).get(["late"]).payload == [{"price": 3}]


def test_a_canary_has_the_new_rows_of_some_labels_or_of_a_share_that_grows(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    wanted = expected(gallery, side)
    with pytest.raises(StateError, match="holds no upgrade"):
        upgrade.canary(gallery, tmp_path / "none", share=0.5)
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    Gallery.open(gallery).remove(["image-1", "image-2"])
    add(gallery, None, ["image-2"], label="class-2")  # another picture of that name, of which there is no vector
    by_label = upgrade.canary(gallery, tmp_path / "label", labels=["class-1"])
    assert by_label.ids == tuple(id for id in names(65)[6::5]) and set(by_label.labels) == {"class-1"}
    assert by_label.space == NEW and by_label.verify() == []
    close(by_label.vectors, np.stack([wanted[id] for id in by_label.ids]))
    few, more = (set(upgrade.canary(gallery, tmp_path / str(share), share=share).ids) for share in (0.2, 0.6))
    assert few < more and 0 < len(few) < 30 and "image-1" not in more
    everything = upgrade.canary(gallery, tmp_path / "all", share=1.0)
    assert len(everything) == 63 and "image-2" not in everything.ids
    assert Gallery.open(gallery).space == OLD


def test_a_canary_is_whole_or_not_there_and_has_what_is_kept_beside_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=OLD, dim=16)
    beside: list[dict[str, object]] = [{"price": row} for row in range(20)]
    gallery.add(Embeddings(vectors(20, 16, 0), OLD), names(20), payload=beside)
    toy_alone, out = Toy(side_space=None), tmp_path / "canary"
    upgrade.run(gallery.path, toy_alone, shard_rows=4, workers=1)
    monkeypatch.setattr(sys.modules["compat_sdk.upgrade.canary"], "_ROWS_PER_SEGMENT", 8)
    with monkeypatch.context() as patch:
        patch.setattr("compat_sdk.gallery.filling.write_state", _stopped)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # as if it had been killed
        patch.setattr(Path, "rmdir", _stopped)
        with pytest.raises(KeyboardInterrupt):
            upgrade.canary(gallery.path, out, share=1.0)
    assert list(out.glob("vectors-*")) and not (out / "gallery.json").exists()
    made = upgrade.canary(gallery.path, out, share=1.0)
    assert made.ids == tuple(names(20)) and made.info()["segments"] == 3
    assert made.get(names(20)).payload == beside
    upgrade.cutover(gallery.path, unverified=True)
    with pytest.raises(StateError, match="search the gallery itself"):
        upgrade.canary(gallery.path, tmp_path / "late", share=1.0)


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
