"""What an operator meets: status, a log, a pace, room on the disk, and files that nobody asked to delete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import CompatError, ConfigError, DataError, StateError, VectorError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from compat_sdk.upgrade import assembly, room
from compat_sdk.upgrade import shard as shards
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, add, contents, expected, make, names


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return make(tmp_path)


def test_status_tells_every_stage_and_what_comes_next(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    assert (upgrade.status(gallery).stage, upgrade.status(gallery).next) == ("none", "upgrade plan")
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    found = upgrade.status(gallery)
    assert (found.stage, found.next, found.shards, found.done) == ("transformed", "upgrade verify", 7, 7)
    assert (found.space, found.leads_to, found.rows, found.transformed) == (OLD, NEW, 65, 65)
    add(gallery, side, ["late"])
    assert (upgrade.status(gallery).stage, upgrade.status(gallery).added) == ("running", 1)
    upgrade.run(gallery, Toy(), side=side, workers=1)
    new = Gallery.create(tmp_path / "new", space=NEW, dim=24)
    new.add(Embeddings(np.stack(list(expected(gallery, side).values())), NEW), Gallery.open(gallery).ids)
    upgrade.verify(gallery, Toy(), held_out=new.path, at_least="worse")
    assert (upgrade.status(gallery).stage, upgrade.status(gallery).next) == ("verified", "upgrade cutover")
    upgrade.cutover(gallery)
    assert (upgrade.status(gallery).stage, upgrade.status(gallery).old_rows) == ("cut over", 66)
    upgrade.discard(gallery, old=True)
    assert upgrade.status(gallery).stage == "none"


def test_a_log_gets_a_line_per_shard_and_keeps_those_of_earlier_runs(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    log = tmp_path / "run.jsonl"
    first = float(Gallery.open(gallery).vectors[23, 0])
    with pytest.raises(VectorError):
        upgrade.run(gallery, Toy(spoilt=first), side=side, shard_rows=10, workers=1, log=log)
    upgrade.run(gallery, Toy(), side=side, workers=1, log=log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    states = [(line["shard"], line["state"]) for line in lines]
    assert states[:3] == [(0, "done"), (1, "done"), (2, "failed")] and "NaN" in lines[2]["message"]
    assert states[3:] == [(0, "kept"), (1, "kept"), *((number, "done") for number in range(2, 7))]
    assert lines[0]["rows"] == 10 and lines[0]["seconds"] >= 0 and lines[-1]["first"] == 60
    with pytest.raises(ConfigError, match="name another file"):
        upgrade.run(gallery, Toy(), side=side, workers=1, log=tmp_path)


def test_a_pace_is_kept_by_waiting_before_each_block(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, side = pair
    now, slept = [0.0], list[float]()
    monkeypatch.setattr(shards.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(shards.time, "sleep", lambda s: (slept.append(s), now.__setitem__(0, now[0] + s)))
    settings = {"side": side, "shard_rows": 100, "block_rows": 10, "workers": 1}
    upgrade.run(gallery, Toy(), rows_per_second=50, **settings)  # type: ignore[arg-type]
    assert sum(slept) == pytest.approx(65 / 50) and len(slept) == 7  # two sources, each in blocks of ten
    with pytest.raises(ConfigError, match="rows_per_second is 0"):
        upgrade.run(gallery, Toy(), rows_per_second=0, side=side)


def test_plan_and_verify_tell_how_far_they_are(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    stages = list[str]()
    upgrade.plan(gallery, Toy(), side=side, progress=lambda stage, *_: stages.append(stage))
    assert stages[-1] == "time a few blocks" and stages[0] == "pair with side-information"
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    stages.clear()
    upgrade.verify(gallery, Toy(), progress=lambda stage, *_: stages.append(stage))
    assert stages[0] == "compare shards" and stages[-1] == "judge" and "compare files" in stages


def test_all_that_an_upgrade_will_write_is_counted_as_room(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = pair
    tables = sum(path.stat().st_size for path in gallery.glob("rows-*"))
    found = upgrade.plan(gallery, Toy(), side=side, shard_rows=10)
    assert (found.bytes_needed, found.bytes_to_copy) == (65 * (24 * 4 + 8), 0)
    assert found.bytes_for_cutover == tables  # each shard is a part of its segment
    monkeypatch.setattr(assembly, "MOST_SEGMENTS", 3)
    monkeypatch.setattr(room, "MOST_SEGMENTS", 3)
    found = upgrade.plan(gallery, Toy(), side=side, shard_rows=10)
    assert found.bytes_for_cutover == tables + 65 * 24 * 4
    usage = shutil.disk_usage(gallery)
    needed = found.bytes_needed + found.bytes_for_cutover
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(CompatError, match="for the cutover; nothing was changed"):
        upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage._replace(free=needed))
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    add(gallery, side, names(40, "late"))  # merged with the last segment: a copy of 40 rows
    copied = upgrade.plan(gallery, Toy(), side=side).bytes_to_copy
    assert 40 * 16 * 4 < copied < 40 * 16 * 4 + 2000


@pytest.mark.parametrize("stage", ["shards", "cutover"])
def test_a_lost_manifest_deletes_nothing(pair: tuple[Path, Path], stage: str) -> None:
    gallery, side = pair
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    if stage == "cutover":
        upgrade.cutover(gallery, unverified=True)
    folder = gallery / "upgrade"
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").unlink()
    files = sorted(folder.rglob("*"))
    again = Toy(SIDE) if stage == "shards" else _Further()
    calls = [lambda: upgrade.run(gallery, again, side=side if stage == "shards" else None)]
    for call in [*calls, lambda: upgrade.plan(gallery, again, side=side if stage == "shards" else None)]:
        with pytest.raises(StateError, match=r"no manifest that tells what they are; restore manifest\.json"):
            call()
    assert sorted(folder.rglob("*")) == files
    (folder / "manifest.json").write_bytes(manifest)
    if stage == "cutover":
        assert upgrade.rollback(gallery).rows == 65
    else:
        assert upgrade.run(gallery, Toy(), side=side).transformed == 0
        (folder / "manifest.json").unlink()
        assert upgrade.discard(gallery) > 0 and not folder.exists()


class _Further(Toy):
    """Begins where the first upgrade ended."""

    def __init__(self) -> None:
        super().__init__(side_space=None)

    def __call__(self):  # type: ignore[no-untyped-def]
        from compat_sdk.space import TransformSpaces

        class Further:
            spaces = TransformSpaces(NEW, 24, None, None, "newest-24-0123456789ab", 24)

            def apply(self, old, side=None):  # type: ignore[no-untyped-def]
                return np.array(old)

        return Further()


def test_a_first_run_that_failed_fixes_nothing(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    first = float(Gallery.open(gallery).vectors[3, 0])
    before = contents(gallery)
    with pytest.raises(VectorError):
        upgrade.run(gallery, Toy(spoilt=first), side=side, shard_rows=10, block_rows=4, workers=1)
    assert upgrade.plan(gallery, Toy(version="2"), side=side).shards == 2
    done = upgrade.run(gallery, Toy(version="2"), side=side, workers=1)
    assert (done.shards, done.added) == (2, 65) and contents(gallery) == before
    with pytest.raises(ConfigError, match="begun with transform version 2"):
        upgrade.run(gallery, Toy(), side=side)


def test_side_information_of_other_labels_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    labels = dict(zip(Gallery.open(gallery).ids, Gallery.open(gallery).labels, strict=True))
    opened = Gallery.open(side)
    rows, ids = Embeddings(np.array(opened.vectors), SIDE), opened.ids
    opened.remove(ids)
    told = [labels[id] for id in ids]
    opened.add(rows, ids, [*told[:-2], "another", ""])  # nothing is known of the last
    for call in (upgrade.plan, upgrade.run):
        with pytest.raises(DataError, match=r"1 of 65 rows have another label in .*'another'\); its vectors"):
            call(gallery, Toy(), side=side)
    assert not (gallery / "upgrade").exists()
    opened.remove(ids)
    opened.add(rows, ids, told)
    assert upgrade.run(gallery, Toy(), side=side, workers=1).rows == 65
