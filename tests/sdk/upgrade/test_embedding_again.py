"""Rows of an upgraded gallery that are embedded again, the most uncertain first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import ConfigError, DataError, GalleryError, StateError, VectorError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk.upgrade.toy import NEW, OLD, Toy, add, contents, make, names, vectors

MINE = dict(zip(names(65), vectors(65, 24, 7), strict=True))
UNCERTAINTY = {id: float(row % 10) for row, id in enumerate(names(60))}  # five rows have none


def embed(ids: Sequence[str]) -> Embeddings:
    return Embeddings(np.stack([MINE[id] for id in ids]), NEW)


@pytest.fixture
def upgraded(tmp_path: Path) -> Path:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    with pytest.raises(StateError, match="has not been cut over"):
        upgrade.embed_again(gallery, UNCERTAINTY, embed, budget=1)
    upgrade.cutover(gallery, unverified=True)
    return gallery


def test_the_most_uncertain_rows_get_the_new_models_vectors_and_a_second_call_goes_on(upgraded: Path) -> None:
    before = Gallery.open(upgraded)
    seen = list[tuple[int, int]]()
    done = upgrade.embed_again(
        upgraded, UNCERTAINTY, embed, budget=8, progress=lambda _, done, total, __: seen.append((done, total))
    )
    assert done == upgrade.EmbeddedAgain(8, 0, 52, 5) and seen == [(8, 8)]
    first = [f"image-{row}" for row in (9, 19, 29, 39, 49, 59, 8, 18)]
    after = Gallery.open(upgraded)
    assert (after.ids, after.labels, after.verify()) == (before.ids, before.labels, [])
    for row, id in enumerate(after.ids):
        wanted = MINE[id] if id in first else before.vectors[row]
        np.testing.assert_array_equal(after.vectors[row], wanted)
    assert upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=1000) == upgrade.EmbeddedAgain(52, 8, 0, 5)
    assert upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=1000) == upgrade.EmbeddedAgain(0, 60, 0, 5)
    assert upgrade.verify(upgraded, Toy()).problems == ()


def test_a_rollback_knows_rows_that_were_embedded_again(upgraded: Path) -> None:
    old = contents(upgraded / "upgrade" / "before")
    upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8)
    Gallery.open(upgraded).remove(["image-0"])
    add(upgraded, None, ["late"])
    with pytest.raises(StateError, match=r"1 rows were added since the cutover .*: late;"):
        upgrade.rollback(upgraded)
    assert upgrade.rollback(upgraded, drop_added=True).dropped == ("late",)
    assert Gallery.open(upgraded).ids == tuple(id for id in old[1] if id != "image-0")
    assert Gallery.open(upgraded).space == OLD and not (upgraded / "upgrade" / "backfilled.jsonl").exists()


def test_a_call_that_died_before_its_note_does_the_rows_again(upgraded: Path) -> None:
    upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8)
    note = upgraded / "upgrade" / "backfilled.jsonl"
    note.write_bytes(note.read_bytes()[:-9])
    assert upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8).before == 0
    assert upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8).before == 8
    note.write_bytes(b"[]\n")
    with pytest.raises(GalleryError, match="malformed"):
        upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8)


def test_a_call_that_died_between_its_note_and_its_rows_strands_no_rollback(
    upgraded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = contents(upgraded)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Gallery, "replace", died)
        upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8)
    assert contents(upgraded) == before
    assert upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8) == upgrade.EmbeddedAgain(8, 0, 52, 5)
    replace = Gallery.replace

    def then_died(self: Gallery, *arguments: Any) -> None:
        replace(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Gallery, "replace", then_died)
        upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8)
    assert upgrade.rollback(upgraded).dropped == ()


def test_another_picture_under_the_id_of_a_row_that_was_embedded_again_is_no_old_row(upgraded: Path) -> None:
    upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=8)
    Gallery.open(upgraded).remove(["image-9", "image-0"])
    add(upgraded, None, ["image-9", "image-0"])
    found = contents(upgraded)
    assert upgrade.embed_again(upgraded, {"image-9": 1.0, "image-0": 2.0}, embed, budget=8).rows == 0
    assert contents(upgraded) == found
    with pytest.raises(StateError, match=r"2 rows were added since the cutover .*: image-9, image-0;"):
        upgrade.rollback(upgraded)


def test_what_gives_no_order_is_refused(upgraded: Path, tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="not finite"):
        upgrade.embed_again(upgraded, {**UNCERTAINTY, "image-3": float("nan")}, embed, budget=8)
    with pytest.raises(ConfigError, match="budget is 0"):
        upgrade.embed_again(upgraded, UNCERTAINTY, embed, budget=0)
    path = tmp_path / "u.csv"
    path.write_text("id,uncertainty\na,0.5\nb,-2\n")
    assert upgrade.read_uncertainty(path) == {"a": 0.5, "b": -2.0}
    for wrong in ("a,b\n1,2\n", "id,uncertainty\na,x\n", "id,uncertainty\na\n", "id,uncertainty\na,1\na,2\n"):
        path.write_text(wrong)
        with pytest.raises(DataError, match="columns id,uncertainty"):
            upgrade.read_uncertainty(path)
    with pytest.raises(DataError, match="cannot read"):
        upgrade.read_uncertainty(tmp_path / "none.csv")


def test_replaced_rows_keep_their_place_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    opened, before = Gallery.open(path), contents(path)
    fresh = Embeddings(vectors(3, 16, 3), OLD)
    with pytest.raises(DataError, match="1 ids are not in the gallery: unknown"):
        opened.replace(fresh, ["image-1", "unknown", "image-2"])
    with pytest.raises(DataError, match="repeated ids image-1"):
        opened.replace(fresh, ["image-1", "image-1", "image-2"])
    assert contents(path) == before
    opened.replace(fresh, ["image-50", "image-3", "image-41"])
    for found in (opened, Gallery.open(path)):
        assert (found.ids, found.labels) == before[1:3]
        np.testing.assert_array_equal(found.vectors[[50, 3, 41]], fresh.vectors)
        assert found.search(fresh, k=1)[1][0].id == "image-3"
