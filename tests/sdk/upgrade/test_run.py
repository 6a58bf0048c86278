"""`upgrade run`: what it writes, what it does again and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import (
    CompatError,
    ConfigError,
    DataError,
    GalleryError,
    GalleryLockedError,
    IncompatibleSpaceError,
    MissingExtraError,
    VectorError,
)
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.lock import write_lock
from compat_sdk.space import Embeddings
from compat_sdk.upgrade import manifest as layout
from compat_sdk.upgrade import mapping, room
from compat_sdk.upgrade import shard as shards
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, add, close, contents, expected, make, names, vectors


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return make(tmp_path)


def run(gallery: Path, side: Path | None, opener: Toy | None = None, **options: object) -> upgrade.RunResult:
    settings: dict[str, object] = {"shard_rows": 10, "block_rows": 4, "workers": 1, **options}
    return upgrade.run(gallery, opener or Toy(SIDE if side else None), side=side, **settings)  # type: ignore[arg-type]


def shard_files(gallery: Path) -> dict[str, bytes]:
    """The vectors of every shard by its number: the files' own names are random."""
    folder = gallery / "upgrade" / "shards"
    records = sorted(folder.glob("shard-*.json"))
    return {path.name: (folder / json.loads(path.read_text())["output"]["name"]).read_bytes() for path in records}


def test_a_run_transforms_every_row_and_changes_nothing_that_is_visible(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    before = (gallery / "gallery.json").read_bytes()
    wanted = expected(gallery, side)
    seen: list[tuple[str, int, int]] = []
    done = run(gallery, side, progress=lambda stage, done, total, _: seen.append((stage, done, total)))
    assert (done.rows, done.added, done.shards, done.transformed) == (65, 65, 7, 7)
    assert seen[0] == ("transform", 10, 65) and seen[-1] == ("transform", 65, 65)
    assert (gallery / "gallery.json").read_bytes() == before
    assert Gallery.open(gallery).space == OLD
    upgrade.cutover(gallery, unverified=True)
    opened = Gallery.open(gallery)
    close(opened.vectors, np.stack([wanted[id] for id in opened.ids]))


def test_a_transform_without_side_information_needs_none(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    wanted = expected(gallery, None)
    with pytest.raises(ConfigError, match="takes none"):
        run(gallery, side, Toy(None))
    with pytest.raises(ConfigError, match="--side"):
        run(gallery, None, Toy())
    run(gallery, None)
    upgrade.cutover(gallery, unverified=True)
    close(Gallery.open(gallery).vectors, np.stack(list(wanted.values())))


def test_a_resumed_run_does_only_what_is_missing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    log = tmp_path / "log"
    run(gallery, side, Toy(log=str(log)))
    assert len(log.read_text()) == 65
    files = shard_files(gallery)
    for name in list(files)[2:4]:
        (gallery / "upgrade" / "shards" / name).unlink()
    done = run(gallery, side, Toy(log=str(log)), shard_rows=None, block_rows=None)
    assert (done.added, done.transformed) == (0, 2)
    assert len(log.read_text()) == 65 + 20
    assert shard_files(gallery) == files
    assert len(list((gallery / "upgrade" / "shards").iterdir())) == 2 * len(files)  # what was left over is swept


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "record"])
def test_a_damaged_shard_is_made_again_and_no_other(pair: tuple[Path, Path], damage: str) -> None:
    gallery, side = pair
    run(gallery, side)
    files = shard_files(gallery)
    record = gallery / "upgrade" / "shards" / "shard-00000003.json"
    victim = record.with_name(json.loads(record.read_text())["output"]["name"])
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[-7] ^= 1
        victim.write_bytes(data)
    elif damage == "truncate":
        victim.write_bytes(data[:-1])
    elif damage == "delete":
        victim.unlink()
    else:
        record.write_bytes(record.read_bytes().replace(b'"rows": 10', b'"rows": 11'))
    with pytest.raises((GalleryError, ConfigError), match="run"):
        upgrade.cutover(gallery, unverified=True)
    assert run(gallery, side).transformed == 1
    assert shard_files(gallery) == files
    assert upgrade.cutover(gallery, unverified=True).rows == 65


def test_worker_processes_write_the_same_bytes(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    run(*one, workers=1)
    assert run(*two, workers=2).transformed == 7
    assert shard_files(one[0]) == shard_files(two[0])


def test_a_worker_that_dies_is_an_error_and_the_run_can_go_on(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    jobs = [mapping.Job(str(number), *[None] * 6) for number in range(2)]  # type: ignore[arg-type]
    with pytest.raises(CompatError, match="a worker process died"):
        list(mapping.map_local(_die, jobs, 2))
    with pytest.raises(ConfigError, match="workers is 0"):
        list(mapping.map_local(_die, jobs, 0))


def _die(job: mapping.Job) -> mapping.Outcome:
    import os

    os._exit(9)


def test_ray_writes_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    run(*one)
    assert run(*two, workers=2, ray=True).transformed == 7
    assert shard_files(one[0]) == shard_files(two[0])


def test_ray_that_is_not_installed_is_an_error_that_names_the_extra(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        run(*pair, ray=True)


def test_rows_added_meanwhile_become_further_shards(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    run(gallery, side)
    files = shard_files(gallery)
    add(gallery, side, names(3, "few"), seed=5)
    add(gallery, side, names(30, "many"), seed=7)  # absorbs the smaller segments before it
    with pytest.raises(ConfigError, match="33 of 98 rows were added since the last run, such as few-0"):
        upgrade.cutover(gallery, unverified=True)
    log = tmp_path / "log"
    done = run(gallery, side, Toy(log=str(log)))
    assert (done.rows, done.added, len(log.read_text())) == (98, 33, 33)
    assert {name: data for name, data in shard_files(gallery).items() if name in files} == files
    wanted, labels = expected(gallery, side), Gallery.open(gallery).labels
    assert upgrade.cutover(gallery, unverified=True).left_out == 0
    opened = Gallery.open(gallery)
    assert opened.ids == tuple(wanted) and opened.labels == labels
    close(opened.vectors, np.stack(list(wanted.values())))


def test_rows_removed_or_changed_meanwhile_are_seen_as_what_they_are(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    opened = Gallery.open(gallery)
    same = Embeddings(np.ascontiguousarray(opened.vectors[:2]), OLD)
    opened.remove(["image-0", "image-1", "image-2", "image-50", "image-64"])
    opened.compact()
    opened.add(same, ["image-0", "image-1"], ["class-0", "another"])  # as it was, and with another label
    opened.add(Embeddings(vectors(1, 16, 77), OLD), ["image-2"], ["class-2"])  # another vector
    with pytest.raises(ConfigError, match="3 of 63 rows"):
        upgrade.cutover(gallery, unverified=True)
    assert run(gallery, side).added == 3
    wanted, labels = expected(gallery, side), Gallery.open(gallery).labels
    done = upgrade.cutover(gallery, unverified=True)
    assert (done.rows, done.left_out) == (63, 5)
    again = Gallery.open(gallery)
    assert again.ids == tuple(wanted) and again.labels == labels and again.verify() == []
    close(again.vectors, np.stack(list(wanted.values())))


def test_a_last_row_with_another_vector_under_its_id_and_label_is_another_row(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    opened = Gallery.open(gallery)
    last, label = opened.ids[-1], opened.labels[-1]
    opened.remove([last])
    opened.add(Embeddings(vectors(1, 16, 77), OLD), [last], [label])
    with pytest.raises(ConfigError, match="1 of 65 rows"):
        upgrade.cutover(gallery, unverified=True)
    assert run(gallery, side).added == 1


def test_compacting_the_gallery_and_its_side_information_takes_nothing_from_a_run(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    wanted = expected(gallery, side)
    run(gallery, side)
    for record in sorted((gallery / "upgrade" / "shards").glob("shard-*.json"))[3:]:
        record.unlink()
    for path in pair:
        Gallery.open(path).remove(["image-64"])
        Gallery.open(path).compact()
    assert run(gallery, side).transformed == 4
    assert upgrade.cutover(gallery, unverified=True).left_out == 1
    close(Gallery.open(gallery).vectors, np.stack(list(wanted.values())[:64]))


def test_a_system_without_hard_links_gets_copies(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gallery, side = pair
    wanted = expected(gallery, side)

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("os.link", refuse)
    run(gallery, side)
    Gallery.open(gallery).compact()
    upgrade.cutover(gallery, unverified=True)
    close(Gallery.open(gallery).vectors, np.stack(list(wanted.values())))
    upgrade.rollback(gallery)
    assert Gallery.open(gallery).space == OLD and Gallery.open(gallery).verify() == []


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_galleries_of_fewer_bits_stay_so(tmp_path: Path, dtype: Dtype) -> None:
    n = 30
    gallery = Gallery.create(tmp_path / "gallery", space=OLD, dim=16, dtype=dtype)
    side = Gallery.create(tmp_path / "side", space=SIDE, dim=8, dtype=dtype)
    gallery.add(Embeddings(vectors(n, 16, 0), OLD), names(n))
    side.add(Embeddings(vectors(n, 8, 1), SIDE), names(n)[::-1])
    wanted = expected(gallery.path, side.path)  # of the rounded vectors
    run(gallery.path, side.path)
    Gallery.open(gallery.path).remove(["image-4"])
    Gallery.open(gallery.path).compact()
    add(gallery.path, side.path, ["late"])
    assert run(gallery.path, side.path).added == 1
    assert upgrade.verify(gallery.path, Toy()).problems == ()
    old = contents(gallery.path)
    assert upgrade.cutover(gallery.path, unverified=True).left_out == 1
    opened = Gallery.open(gallery.path)
    assert opened.info()["dtype"] == dtype and opened.verify() == []
    kept = [id for id in wanted if id != "image-4"]
    close = np.stack([opened.vectors[opened.ids.index(id)] @ wanted[id] for id in kept])
    assert close.min() > 0.9998
    upgrade.rollback(gallery.path)
    assert contents(gallery.path) == old


def test_missing_side_information_is_named_before_anything_is_written(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    Gallery.open(side).remove(["image-3", "image-60"])
    with pytest.raises(DataError, match=r"2 of 65 rows have no side-information .*: image-3, image-60;"):
        run(gallery, side)
    assert not (gallery / "upgrade").exists()
    with pytest.raises(DataError, match="image-3, image-60"):
        upgrade.plan(gallery, Toy(), side=side)


def test_rows_of_a_begun_upgrade_need_their_side_information_no_more(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    Gallery.open(side).remove(["image-3", "image-60"])
    assert upgrade.plan(gallery, Toy(), side=side).remaining == 0
    assert run(gallery, side).transformed == 0


def test_a_pairing_with_rows_that_do_not_exist_is_a_gallery_error(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    for path in (gallery / "upgrade" / "shards").iterdir():
        if "-00000000" not in path.name:
            path.unlink()
    pairs = next((gallery / "upgrade" / "sources").glob("pairs-*.npy"))
    stored = np.load(pairs)
    stored[0] = 10**6
    np.save(pairs, stored)
    with pytest.raises(GalleryError, match="SHA-256"):
        run(gallery, side)


def test_galleries_in_other_spaces_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    with pytest.raises(IncompatibleSpaceError, match="side-information"):
        run(gallery, gallery)
    with pytest.raises(IncompatibleSpaceError, match="the transform takes"):
        run(side, side)
    with pytest.raises(GalleryError, match="not a gallery"):
        run(tmp_path / "nothing", side)
    assert not (gallery / "upgrade").exists()


def test_a_vector_that_is_no_vector_stops_the_shard_and_names_its_id(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    first = float(Gallery.open(gallery).vectors[23, 0])
    with pytest.raises(VectorError, match=r"shard 2 \(rows 20 to 29\) failed at ids image-23: .*NaN") as caught:
        run(gallery, side, Toy(spoilt=first))
    assert caught.value.rows == (23,)
    assert list(shard_files(gallery)) == ["shard-00000000.json", "shard-00000001.json"]
    assert not [path for path in (gallery / "upgrade" / "shards").iterdir() if "00000002" in path.name]
    log = tmp_path / "log"
    run(gallery, side, Toy(log=str(log)))
    assert len(log.read_text()) == 45


def test_lengths_that_drift_stop_the_shard(pair: tuple[Path, Path]) -> None:
    with pytest.raises(VectorError, match=r"4 of 4 rows of what the transform gave: 4 not of unit norm"):
        run(*pair, Toy(scale=1.01))
    run(*pair, Toy(scale=1.0005))  # within the tolerance: normalised
    upgrade.cutover(pair[0], unverified=True)
    lengths = np.linalg.norm(Gallery.open(pair[0]).vectors, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_a_run_goes_on_only_with_what_it_was_begun_with(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    with pytest.raises(ConfigError, match=r"begun with transform version 1, found version 2.*discard"):
        run(gallery, side, Toy(version="2"))
    with pytest.raises(ConfigError, match="shard_rows is 11, but this upgrade was begun with 10"):
        run(gallery, side, shard_rows=11)
    with pytest.raises(ConfigError, match="block_rows is 0"):
        upgrade.discard(gallery)
        run(gallery, side, block_rows=0)
    upgrade_folder = gallery / "upgrade"
    assert not upgrade_folder.exists()
    assert run(gallery, side, Toy(version="2"), shard_rows=20).shards == 4


def test_a_run_and_a_gallery_without_rows_give_an_empty_gallery(tmp_path: Path) -> None:
    gallery, side = Gallery.create(tmp_path / "g", space=OLD, dim=16), Gallery.create(tmp_path / "s", space=SIDE, dim=8)
    assert run(gallery.path, side.path).shards == 0
    assert upgrade.cutover(gallery.path, unverified=True).rows == 0
    assert (Gallery.open(gallery.path).space, Gallery.open(gallery.path).dim) == (NEW, 24)
    upgrade.rollback(gallery.path)
    assert Gallery.open(gallery.path).space == OLD


def test_a_second_upgrade_of_the_same_gallery_fails_cleanly_while_additions_go_on(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    with write_lock(gallery, layout.LOCK_FILE, "upgrading"):
        for call in (
            lambda: run(gallery, side),
            lambda: upgrade.cutover(gallery, unverified=True),
            lambda: upgrade.rollback(gallery),
            lambda: upgrade.discard(gallery),
        ):
            with pytest.raises(GalleryLockedError, match="another process is upgrading"):
                call()
        add(gallery, side, ["meanwhile"])
    assert run(gallery, side).rows == 66
    with write_lock(gallery), pytest.raises(GalleryLockedError, match="another process is writing"):
        upgrade.cutover(gallery, unverified=True, timeout=0)
    assert run(gallery, side).transformed == 0  # a run needs no lock of the gallery's
    upgrade.cutover(gallery, unverified=True)


def test_a_disk_that_is_too_small_is_found_out_first(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(pair[0])
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage._replace(free=6000))
    with pytest.raises(CompatError, match="GB free"):
        run(*pair)
    assert not (pair[0] / "upgrade").exists()


def test_a_damaged_source_is_not_transformed(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    victim = max(gallery.glob("vectors-*.npy"))
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.write_bytes(data)
    with pytest.raises(GalleryError, match="SHA-256"):
        run(gallery, side)


def test_a_damaged_manifest_is_refused_and_can_be_discarded(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    path = gallery / "upgrade" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"shard_rows": 10', b'"shard_rows": 11'))
    for call in (
        lambda: run(gallery, side),
        lambda: upgrade.cutover(gallery, unverified=True),
        lambda: upgrade.rollback(gallery),
    ):
        with pytest.raises(GalleryError, match="differs from its own digest"):
            call()
    assert upgrade.discard(gallery) > 0
    assert run(gallery, side).transformed == 7
    assert contents(gallery)[0] == OLD


def test_a_manifest_tells_every_field(pair: tuple[Path, Path]) -> None:
    run(*pair)
    found = layout.require_manifest(pair[0])
    assert (found.rows, len(found.shards), found.spaces.dim, found.spaces.side_dim) == (65, 7, 24, 8)
    layout.write_manifest(pair[0] / "upgrade", replace(found, model={"name": "x"}))
    assert layout.require_manifest(pair[0]).model == {"name": "x"}


def test_a_record_of_another_transform_or_of_other_rows_counts_for_nothing(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    run(gallery, side)
    folder = gallery / "upgrade"
    manifest = layout.require_manifest(gallery)
    shard = manifest.shards[0]
    assert shards.read_record(folder, shard, manifest.transform) is not None
    assert shards.read_record(folder, shard, {"version": "2"}) is None
    assert shards.read_record(folder, replace(shard, stop=shard.stop - 1), manifest.transform) is None


def test_more_shards_than_memory_can_list_are_refused_in_a_run_and_in_a_file(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = pair
    run(gallery, side)
    monkeypatch.setattr(layout, "_MOST_SHARDS", 6)
    with pytest.raises(GalleryError, match="shards"):
        upgrade.verify(gallery, Toy(SIDE))
    shutil.rmtree(gallery / "upgrade")
    with pytest.raises(ConfigError, match="take more rows"):
        run(gallery, side)
    assert run(gallery, side, shard_rows=20).shards <= 6
