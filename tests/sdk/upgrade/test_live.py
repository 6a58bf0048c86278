"""Upgrades beside a writer that never rests: nothing fails, and no row is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import ConfigError, DataError, StateError
from compat_sdk.gallery import Gallery, opening, tables
from compat_sdk.gallery.lock import write_lock
from compat_sdk.space import Embeddings
from compat_sdk.upgrade import freeze, switch
from tests.sdk.upgrade.live import lost, upgraded_beside_a_writer
from tests.sdk.upgrade.toy import NEW, OLD, Toy, add, close, expected, make, names, vectors


def test_the_whole_life_of_an_upgrade_goes_on_beside_a_writer(tmp_path: Path) -> None:
    writer, failed = upgraded_beside_a_writer(tmp_path, 0.005)
    assert failed == [] and writer.failures == [] and writer.changes > 5
    assert lost(writer) == set() and Gallery.open(writer.gallery).verify() == []


@pytest.mark.slow
def test_a_hundred_upgrades_go_on_beside_a_writer(tmp_path: Path) -> None:
    for number in range(100):
        writer, failed = upgraded_beside_a_writer(tmp_path / str(number), 0.0)
        assert failed == [] and writer.failures == [] and lost(writer) == set()


@pytest.mark.parametrize("most_read", [0, 1 << 18])
def test_what_was_opened_is_read_though_a_writer_merged_it_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_read: int
) -> None:
    gallery, _ = make(tmp_path)
    monkeypatch.setattr(tables, "_MOST_READ", most_read)  # tables are mapped, or read at once
    snapshot = opening.load_snapshot(gallery, False, names=False)
    ids = Gallery.open(gallery).ids
    Gallery.open(gallery).compact()
    assert not any((gallery / segment.table.name).exists() for segment in snapshot.state.segments)
    assert snapshot.ids == ids


def test_rows_that_a_writer_merges_while_they_are_frozen_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = make(tmp_path)
    wanted = expected(gallery, side)
    link = freeze.link_or_copy

    def late(source: Path, target: Path) -> None:
        for path in (gallery, side):
            Gallery.open(path).compact()
            if path == side:
                Gallery.open(path).remove(["image-64"])
        link(source, target)

    monkeypatch.setattr(freeze, "link_or_copy", late)
    assert upgrade.run(gallery, Toy(), side=side, workers=1).rows == 65
    monkeypatch.undo()
    assert upgrade.cutover(gallery, unverified=True).rows == 65
    close(Gallery.open(gallery).vectors, np.stack(list(wanted.values())))


def test_files_that_were_compared_are_not_compared_again_when_the_state_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, _ = make(tmp_path, (400, 25))
    writer = Gallery.open(gallery)
    large = writer._snapshot.state.segments[0].vectors
    compared, compare = list[str](), opening.problem_with

    def watched(folder: Path, file: opening.StoredFile) -> str | None:
        compared.append(file.name)
        if file != large and compared.count(large.name) == 1 and len(writer) == 425:
            writer.add(Embeddings(vectors(25, 16, 9), OLD), names(25, "late"))  # merges the last one: its file is gone
        return compare(folder, file)

    monkeypatch.setattr(opening, "problem_with", watched)
    snapshot = opening.load_snapshot(gallery, True)
    assert len(snapshot) > 425 and compared.count(large.name) == 1 and len(compared) > 2


def test_a_gallery_that_is_verified_while_a_writer_merges_it_has_no_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, _ = make(tmp_path)
    opened, problems = Gallery.open(gallery), opening.snapshot_problems

    def late(snapshot: opening.Snapshot, *rest: object) -> list[str]:
        if len(snapshot) == 65:
            add(gallery, None, names(70, "late"))
        return problems(snapshot, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "snapshot_problems", late)
    assert opened.verify() == []
    victim = max(gallery.glob("vectors-*"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x7f")
    assert len(opened.verify()) == 1


def test_rows_added_since_the_run_are_taken_along_by_a_cutover_that_knows_the_transform(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    add(gallery, side, names(12, "late"))
    Gallery.open(gallery).remove(["image-3", "late-5"])
    wanted = expected(gallery, side)
    with pytest.raises(StateError, match=r"11 of 75 rows were added .* name the transform"):
        upgrade.cutover(gallery, unverified=True)
    done = upgrade.cutover(gallery, Toy(), side=side, unverified=True, workers=1)
    assert (done.rows, done.left_out, done.caught_up) == (75, 1, 0)
    opened = Gallery.open(gallery)
    assert opened.ids == tuple(wanted)
    close(opened.vectors, np.stack(list(wanted.values())))


def test_rows_added_in_the_last_moment_are_transformed_while_writers_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    load, seen = switch.load_snapshot, list[tuple[str, int]]()
    monkeypatch.setattr(
        switch, "load_snapshot", lambda *a, **b: (add(gallery, side, names(3, "late")), load(*a, **b))[1]
    )
    with pytest.raises(StateError, match=r"3 rows were added to .* at most 2 to be transformed while writers wait"):
        upgrade.cutover(gallery, Toy(), side=side, unverified=True, most_added=2)
    monkeypatch.undo()
    assert Gallery.open(gallery).space == OLD
    monkeypatch.setattr(
        switch, "load_snapshot", lambda *a, **b: (add(gallery, side, ["later"], seed=7), load(*a, **b))[1]
    )

    def told(stage: str, done: int, total: int, figures: object) -> None:
        seen.append((stage, total))
        if "wait" in stage:
            with pytest.raises(Exception, match="another process is writing"), write_lock(gallery):
                pass

    done = upgrade.cutover(gallery, Toy(), side=side, unverified=True, most_added=2, progress=told)
    assert (done.rows, done.caught_up) == (69, 1) and done.paused_s > 0
    assert seen[-1] == ("catch up while writers wait", 1)
    monkeypatch.undo()
    assert Gallery.open(gallery).ids[-1] == "later" and Gallery.open(gallery).verify() == []
    assert upgrade.rollback(gallery).rows == 69  # none was added after the cutover


def test_what_was_transformed_in_the_last_moment_stays_whatever_becomes_of_the_cutover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    load = switch.load_snapshot

    def die(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(switch, "load_snapshot", lambda *a, **b: (add(gallery, side, ["late"]), load(*a, **b))[1])
        full.setattr(switch, "write_state", die)
        with pytest.raises(Exception, match="No space left on device"):
            upgrade.cutover(gallery, Toy(), side=side, unverified=True)
    assert upgrade.verify(gallery, Toy()).problems == ()
    assert upgrade.cutover(gallery, unverified=True).rows == 66


def test_a_row_without_side_information_in_the_last_moment_refuses_the_cutover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    add(gallery, None, ["late"])
    with pytest.raises(DataError, match="late"):
        upgrade.cutover(gallery, Toy(), side=side, unverified=True)
    with pytest.raises(ConfigError, match="no transform that reads it"):
        upgrade.cutover(gallery, side=side, unverified=True)
    with pytest.raises(ConfigError, match="begun with transform version 1, found version 2"):
        upgrade.cutover(gallery, Toy(version="2"), side=side, unverified=True)
    assert Gallery.open(gallery).space == OLD


def test_a_cutover_waits_for_its_turn_to_write(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    begun, finish = threading.Event(), threading.Event()

    def write() -> None:
        with write_lock(gallery):
            begun.set()
            finish.wait(60)

    other = threading.Thread(target=write)
    other.start()
    begun.wait(60)
    threading.Timer(0.2, finish.set).start()
    assert upgrade.cutover(gallery, unverified=True).space == NEW
    other.join()
    assert Gallery.open(gallery).search(Embeddings(vectors(1, 24, 0), NEW))
