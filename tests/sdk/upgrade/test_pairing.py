"""Pairing a gallery with its side-information: right in any order, and without all ids while the order is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import DataError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.pairing import Pairing
from tests.sdk.upgrade.toy import OLD, SIDE, Toy, close, expected, names, vectors


def side_of(folder: Path, ids: list[str]) -> Path:
    side = Gallery.create(folder / "side", space=SIDE, dim=8)
    side.add(Embeddings(vectors(len(ids), 8, 3), SIDE), ids)
    return side.path


def asked(side: Path, ids: list[str], block: int) -> tuple[list[int], Snapshot]:
    snapshot = load_snapshot(side, False, names=False)
    pairing = Pairing(snapshot)
    pieces = [ids[start : start + block] for start in range(0, len(ids), block)]
    found = [pairing.rows(piece, [""] * len(piece)).tolist() for piece in pieces]
    pairing.require_all()
    return [row for rows in found for row in rows], snapshot


@pytest.mark.parametrize("block", [1, 3, 7, 20, 100])
def test_the_same_order_with_gaps_is_found_without_holding_the_ids(tmp_path: Path, block: int) -> None:
    stored = names(60)
    side = side_of(tmp_path, stored)
    wanted = [id for row, id in enumerate(stored) if row not in (0, 5, 6, 20, 41, 42, 43, 44, 45, 46, 47, 48, 59)]
    for ids in (stored, wanted, stored[50:]):
        found, snapshot = asked(side, ids, block)
        assert found == [stored.index(id) for id in ids]
        assert snapshot.names is None


@pytest.mark.parametrize("block", [1, 7, 100])
def test_any_other_order_is_found_as_well(tmp_path: Path, block: int) -> None:
    stored = names(60)
    side = side_of(tmp_path, stored)
    mixed = [stored[row] for row in np.random.default_rng(0).permutation(60)]
    for ids in (stored[::-1], mixed, [*stored[30:], *stored[:30]], [*stored, *stored]):
        assert asked(side, ids, block)[0] == [stored.index(id) for id in ids]


def test_ids_without_side_information_are_counted_and_named(tmp_path: Path) -> None:
    side = side_of(tmp_path, names(5))
    with pytest.raises(DataError, match=r"2 of 5 rows have no side-information .*: other-0, other-1;"):
        asked(side, ["image-1", "other-0", "image-3", "other-1", "image-0"], 2)
    with pytest.raises(DataError, match=r"20 of 20 rows have no .*: other-0, .*, other-9, \.\.\.;"):
        asked(side, names(20, "other"), 6)


def test_a_run_and_a_cutover_hold_no_ids_where_the_orders_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=OLD, dim=16)
    ids = names(90)
    gallery.add(Embeddings(vectors(90, 16, 1), OLD), ids[:90])
    gallery.remove(["image-3", "image-50"])
    side = side_of(tmp_path, ids)
    wanted = expected(gallery.path, side)

    def refuse(snapshot: Snapshot) -> None:
        raise AssertionError("all ids were read")

    with monkeypatch.context() as guarded:
        guarded.setattr(Snapshot, "_read_names", refuse)
        assert upgrade.run(gallery.path, Toy(), side=side, shard_rows=10, workers=1).added == 88
        assert upgrade.run(gallery.path, Toy(), side=side, workers=1).transformed == 0
        assert upgrade.cutover(gallery.path, unverified=True).rows == 88
        assert upgrade.rollback(gallery.path).rows == 88
        upgrade.cutover(gallery.path, unverified=True)
    opened = Gallery.open(gallery.path)
    assert opened.ids == tuple(wanted) and opened.verify() == []
    close(opened.vectors, np.stack(list(wanted.values())))
