"""Cutover, rollback and discard: what changes, what stays, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import CompatError, ConfigError, GalleryError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk.upgrade.toy import NEW, OLD, Toy, add, close, contents, expected, make, names, vectors

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    return gallery, side


def query(gallery: Path, row: int) -> Embeddings:
    opened = Gallery.open(gallery)
    return Embeddings(np.ascontiguousarray(opened.vectors[row : row + 1]), opened.space)


def test_a_damaged_table_stops_run_and_cutover_before_they_change_anything(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    before = (gallery / "gallery.json").read_bytes()
    table = next(path for path in gallery.glob("rows-*") if b"image-7" in path.read_bytes())
    table.write_bytes(table.read_bytes().replace(b"image-7", b"image-x"))
    for attempt in (lambda: upgrade.cutover(gallery, unverified=True), lambda: upgrade.run(gallery, Toy(), side=side)):
        with pytest.raises(GalleryError, match="SHA-256"):
            attempt()
    assert (gallery / "gallery.json").read_bytes() == before


def test_a_damaged_frozen_table_that_a_shard_would_take_whole_stops_the_cutover(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    upgrade.run(gallery, Toy(), side=side, shard_rows=1000, workers=1)
    frozen = next(path for path in (gallery / "upgrade" / "sources").glob("rows-*") if b"image-7" in path.read_bytes())
    data = frozen.read_bytes().replace(b"image-7", b"image-x")
    frozen.unlink()  # it is a second name of the gallery's own
    frozen.write_bytes(data)
    before = (gallery / "gallery.json").read_bytes()
    with pytest.raises(GalleryError, match="SHA-256"):
        upgrade.cutover(gallery, unverified=True)
    assert (gallery / "gallery.json").read_bytes() == before


def test_rows_removed_and_added_again_to_the_byte_stand_at_the_end_and_are_new(tmp_path: Path) -> None:
    gallery, side = make(tmp_path)
    opened = Gallery.open(gallery)
    opened.remove(names(20))
    first = slice(0, 20)
    again = Embeddings(np.array(opened.vectors[first]), OLD), opened.ids[first], opened.labels[first]
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    opened.remove(again[1])
    opened.add(*again)
    assert opened.ids[-20:] == again[1] and opened.info()["segments"] == 2
    with pytest.raises(ConfigError, match="20 of 45 rows were added since the last run"):
        upgrade.cutover(gallery, unverified=True)


def test_a_cutover_changes_space_and_vectors_and_nothing_else(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    old, wanted = Gallery.open(gallery), expected(gallery, side)
    assert upgrade.cutover(gallery, unverified=True) == upgrade.Cutover(NEW, 65, 0)
    new = Gallery.open(gallery)
    assert (new.space, new.dim, new.ids, new.labels) == (NEW, 24, old.ids, old.labels)
    assert new.model == {"name": "toy", "upgraded_from": {"space": OLD, "model": {"name": "old-model"}}}
    close(new.vectors, np.stack(list(wanted.values())))
    assert new.verify() == [] and new.search(query(gallery, 7))[0][0].id == "image-7"
    with pytest.raises(ConfigError, match="has been cut over"):
        upgrade.cutover(gallery, unverified=True)
    with pytest.raises(ConfigError, match=r"cut over to space .* already; roll back, or begin another"):
        upgrade.run(gallery, Toy(), side=side)


def test_no_search_mixes_spaces_and_a_reader_goes_on_with_what_it_opened(pair: tuple[Path, Path]) -> None:
    pytest.importorskip("usearch")
    gallery, _ = pair
    Gallery.open(gallery).build_index(threads=1)
    reader, old = Gallery.open(gallery), query(gallery, 3)
    before = reader.search(old, index="exact")
    upgrade.cutover(gallery, unverified=True)
    Gallery.open(gallery).compact()
    assert [hit.id for hit in reader.search(old)[0]] == [hit.id for hit in before[0]]
    with pytest.raises(IncompatibleSpaceError):
        reader.search(query(gallery, 3))
    with pytest.raises(IncompatibleSpaceError):
        Gallery.open(gallery).search(old)
    assert Gallery.open(gallery).info()["index"] is None
    with pytest.raises(IncompatibleSpaceError, match="expected the gallery's own space"):
        reader.add(old, ["too-late"])


def test_readers_that_open_while_it_is_switched_see_one_space_or_the_other(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    old = contents(gallery)
    upgrade.cutover(gallery, unverified=True)
    new = contents(gallery)
    failures: list[BaseException] = []

    def switch() -> None:
        try:
            for _ in range(4):
                upgrade.rollback(gallery)
                upgrade.cutover(gallery, unverified=True)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=switch)
    thread.start()
    seen = set()
    while thread.is_alive():
        found = contents(gallery)
        assert found in (old, new)
        seen.add(found[0])
    thread.join()
    assert failures == [] and seen


def test_a_writer_that_opened_before_the_cutover_cannot_add_old_vectors(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    writer = Gallery.open(gallery)
    upgrade.cutover(gallery, unverified=True)
    with pytest.raises(IncompatibleSpaceError, match="expected the gallery's own space"):
        writer.add(Embeddings(vectors(1, 16, 5), OLD), ["too-late"])
    opened = Gallery.open(gallery)
    assert opened.verify() == [] and len(opened) == 65


def test_a_rollback_brings_the_old_gallery_back_to_the_byte_with_its_index(pair: tuple[Path, Path]) -> None:
    pytest.importorskip("usearch")
    gallery, _ = pair
    Gallery.open(gallery).build_index(threads=1)
    before, old = contents(gallery), query(gallery, 3)
    with pytest.raises(ConfigError, match="nothing to roll back"):
        upgrade.rollback(gallery)
    upgrade.cutover(gallery, unverified=True)
    new = contents(gallery)
    Gallery.open(gallery).compact()
    assert upgrade.rollback(gallery) == upgrade.Rollback(OLD, 65, ())
    assert contents(gallery) == before
    opened = Gallery.open(gallery)
    assert opened.info()["search"] == "usearch" and opened.verify() == []
    assert opened.search(old)[0][0].id == "image-3"
    upgrade.cutover(gallery, unverified=True)  # without another run
    assert contents(gallery) == new


def test_rows_added_after_the_cutover_are_dropped_only_if_told_to(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    before = contents(gallery)
    upgrade.cutover(gallery, unverified=True)
    add(gallery, None, names(3, "added"))
    with pytest.raises(ConfigError, match=r"3 rows were added .*: added-0, added-1, added-2; .*--drop-added"):
        upgrade.rollback(gallery)
    assert (Gallery.open(gallery).space, len(Gallery.open(gallery))) == (NEW, 68)
    assert upgrade.rollback(gallery, drop_added=True).dropped == ("added-0", "added-1", "added-2")
    assert contents(gallery) == before


def test_a_row_replaced_after_the_cutover_is_an_added_row(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    upgrade.cutover(gallery, unverified=True)
    Gallery.open(gallery).remove(["image-3"])
    add(gallery, None, ["image-3"])
    with pytest.raises(ConfigError, match=r"1 rows were added since the cutover .*: image-3;"):
        upgrade.rollback(gallery)
    assert upgrade.rollback(gallery, drop_added=True).dropped == ("image-3",)
    assert Gallery.open(gallery).ids == tuple(id for id in names(65) if id != "image-3")


def test_rows_removed_after_the_cutover_stay_removed(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    before = Gallery.open(gallery)
    upgrade.cutover(gallery, unverified=True)
    Gallery.open(gallery).remove(["image-0", "image-41"])
    upgrade.rollback(gallery)
    after = Gallery.open(gallery)
    kept = [row for row, id in enumerate(before.ids) if id not in ("image-0", "image-41")]
    assert after.ids == tuple(before.ids[row] for row in kept) and after.verify() == []
    np.testing.assert_array_equal(after.vectors, before.vectors[kept])
    assert upgrade.cutover(gallery, unverified=True).left_out == 2
    assert set(before.ids) - set(Gallery.open(gallery).ids) == {"image-0", "image-41"}


def test_the_kept_old_gallery_is_a_gallery_that_can_be_searched(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    before = contents(gallery)
    upgrade.cutover(gallery, unverified=True)
    assert contents(gallery / "upgrade" / "before") == before


def test_discarding_old_vectors_must_be_said_and_ends_the_way_back(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    with pytest.raises(ConfigError, match="leave out --old"):
        upgrade.discard(gallery, old=True)
    upgrade.cutover(gallery, unverified=True)
    new = contents(gallery)
    with pytest.raises(ConfigError, match="confirm with --old"):
        upgrade.discard(gallery)
    assert upgrade.discard(gallery, old=True) >= 65 * 16 * 4
    assert contents(gallery) == new and not (gallery / "upgrade").exists()
    for call in (upgrade.rollback, upgrade.cutover, upgrade.discard):
        with pytest.raises(ConfigError, match="holds no upgrade"):
            call(gallery)
    with pytest.raises(IncompatibleSpaceError):
        upgrade.run(gallery, Toy(), side=side)


def test_a_discard_says_what_it_gave_back_and_can_be_done_again_after_it_died(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = pair
    upgrade.cutover(gallery, unverified=True)
    folder = gallery / "upgrade"

    def die(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr("compat_sdk.upgrade.giving_up.shutil.rmtree", die)
        with pytest.raises(CompatError, match="Input/output error"):
            upgrade.discard(gallery, old=True)
    with pytest.raises(ConfigError, match="confirm with --old"):
        upgrade.discard(gallery)
    shutil.rmtree(folder / "before")
    shared = {path.stat().st_ino for other in (gallery, side) for path in other.iterdir()}
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    freed = sum(size for inode, size in files.items() if inode not in shared)
    assert upgrade.discard(gallery, old=True) == freed > 0
    assert not folder.exists() and Gallery.open(gallery).verify() == []


def test_damaged_old_vectors_are_not_rolled_back_to(pair: tuple[Path, Path]) -> None:
    gallery, _ = pair
    upgrade.cutover(gallery, unverified=True)
    new = contents(gallery)
    victim = max((gallery / "upgrade" / "before").glob("vectors-*.npy"))
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.write_bytes(data)
    with pytest.raises(GalleryError, match="SHA-256"):
        upgrade.rollback(gallery)
    assert contents(gallery) == new


def test_a_cutover_that_died_half_way_can_be_done_again(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, _ = pair
    before = contents(gallery)

    def die(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("compat_sdk.upgrade.switch.write_state", die)
        with pytest.raises(CompatError, match="No space left on device; nothing was changed"):
            upgrade.cutover(gallery, unverified=True)
    assert contents(gallery) == before
    assert upgrade.cutover(gallery, unverified=True).rows == 65
    with monkeypatch.context() as full:
        full.setattr("compat_sdk.upgrade.rolling_back.write_state", die)
        with pytest.raises(CompatError, match="nothing was changed"):
            upgrade.rollback(gallery)
    assert contents(gallery)[0] == NEW
    upgrade.rollback(gallery)
    assert contents(gallery) == before


FULL_DISK = """
import resource, shutil, sys
from pathlib import Path
from compat_sdk import upgrade
from compat_sdk.errors import CompatError
from compat_sdk.gallery import Gallery
from tests.sdk.upgrade.toy import SIDE, Toy, contents, make

gallery, side = make(Path(sys.argv[1]), sizes=(400, 100))
before = contents(gallery)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (0, 100, 3000, 10_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        upgrade.run(gallery, Toy(), side=side, shard_rows=200, workers=1)
    except CompatError as error:
        assert "too large" in str(error) and "as it was" in str(error), error
    else:
        raise AssertionError("the disk was not full")
    assert contents(gallery) == before
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert upgrade.run(gallery, Toy(), side=side, workers=1).rows == 500
Gallery.open(gallery).remove(["image-3"])
before, transformed = contents(gallery), None
for limit in (0, 100, 10_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        upgrade.cutover(gallery, unverified=True)
    except CompatError as error:
        assert "nothing was changed" in str(error), error
    else:
        raise AssertionError("the disk was not full")
    assert contents(gallery) == before
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert upgrade.cutover(gallery, unverified=True).left_out == 1
print("done")
"""


READ_ONLY = """
import os, sys
from pathlib import Path
from compat_sdk import upgrade
from compat_sdk.errors import CompatError
from tests.sdk.upgrade.toy import SIDE, Toy, contents, make

gallery, side = make(Path(sys.argv[1]))
before = contents(gallery)
for folder in (gallery, *gallery.parents[:3]):
    folder.chmod(0o555)
if os.geteuid() == 0:
    Toy()(); upgrade.plan(gallery, Toy(), side=side)  # import all of it while allowed to
    os.chdir(gallery.parent)
    gallery, side = Path(gallery.name), Path(side.name)
    os.seteuid(65534)
for call in (lambda: upgrade.run(gallery, Toy(), side=side), lambda: upgrade.cutover(gallery, unverified=True)):
    try:
        call()
    except CompatError as error:
        assert "Permission denied" in str(error), error
    else:
        raise AssertionError("written")
assert contents(gallery) == before
print(upgrade.plan(gallery, Toy(), side=side).rows)
"""


def script(code: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    assert script(FULL_DISK, tmp_path) == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_a_read_only_gallery_says_why_it_cannot_be_upgraded_and_can_still_be_planned(tmp_path: Path) -> None:
    try:
        assert script(READ_ONLY, tmp_path) == "65"
    finally:
        for folder in (*tmp_path.parents[:2][::-1], tmp_path, tmp_path / "gallery"):
            folder.chmod(0o755)


def test_old_vectors_of_other_ids_are_not_rolled_back_to(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, _ = pair
    upgrade.cutover(gallery, unverified=True)
    before = gallery / "upgrade" / "before"
    shutil.rmtree(before)
    other = Gallery.create(before, space=OLD, dim=16, model={"name": "old-model"})
    other.add(Embeddings(vectors(65, 16, 9), OLD), names(65, "another"))
    with pytest.raises(GalleryError, match="hold other ids"):
        upgrade.rollback(gallery)
    assert Gallery.open(gallery).space == NEW
