"""What survives a loss of power: content is on the disk before a name that counts, and names before the call returns.

The system is watched, not cut off: each fsync of a file or folder and each name that is given, in order. A file system
may keep anything that was not synced, or lose it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.bundle import Bundle
from compat_sdk.files.atomic import link_or_copy, write_atomic
from compat_sdk.gallery import Gallery, tables
from compat_sdk.space import Embeddings
from tests.sdk.bundles import make_bundle
from tests.sdk.signing import key_pair
from tests.sdk.upgrade.toy import SIDE, Toy, make

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders are not synced there")
SPACE = "tiny-8-aaaaaaaaaaaa"


class Disk:
    """What the system was asked to do, in order: (``"sync"`` or ``"name"``, device and number of the file)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, int]]] = []

    def last(self, what: str, path: Path) -> int:
        """When this was last asked of a file or folder; -1 if never."""
        status = path.stat()
        wanted = what, (status.st_dev, status.st_ino)
        return max((place for place, one in enumerate(self.asked) if one == wanted), default=-1)


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()

    def note(what: str, status: os.stat_result) -> None:
        disk.asked.append((what, (status.st_dev, status.st_ino)))

    with monkeypatch.context() as patch:
        fsync = os.fsync

        def sync(descriptor: int) -> None:
            fsync(descriptor)
            note("sync", os.fstat(descriptor))

        patch.setattr(os, "fsync", sync)
        for name in ("replace", "rename", "link"):
            patch.setattr(os, name, _noting(getattr(os, name), note))
        yield disk


def _noting(call: Callable[..., None], note: Callable[[str, os.stat_result], None]) -> Callable[..., None]:
    def give(source: str, target: str, **more: object) -> None:
        call(source, target, **more)
        note("name", Path(target).lstat())

    return give


def require_durable(disk: Disk, commit: Path, others: list[Path]) -> None:
    """``commit`` is the name by which the others begin to count."""
    committed = disk.last("name", commit)
    assert 0 <= disk.last("sync", commit) < committed < disk.last("sync", commit.parent), commit
    for path in others:
        written, named = disk.last("sync", path), disk.last("sync", path.parent)
        assert 0 <= written < committed, f"{path} was not on the disk before {commit.name} counted on it"
        if path.parent != commit.parent:
            assert written < named, f"the name of {path} may be lost"
            continue
        syncs = [place for place, one in enumerate(disk.asked[:committed]) if one == ("sync", _number(path.parent))]
        assert any(written < place for place in syncs), f"{commit.name} may come to the disk before the name of {path}"


def _number(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def rows(count: int, first: int = 0) -> tuple[Embeddings, list[str]]:
    vectors = np.random.default_rng(first).normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, SPACE), [f"{first + place}" for place in range(count)]


def test_an_atomic_write_is_on_the_disk_before_and_after_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watching(monkeypatch) as disk:
        write_atomic(tmp_path / "f", b"new")
    require_durable(disk, tmp_path / "f", [])


CHANGES: dict[str, Callable[[Gallery], object]] = {
    "add": lambda gallery: gallery.add(*rows(3, 100)),
    "remove": lambda gallery: gallery.remove(["0", "5"]),
    "compact": lambda gallery: gallery.compact(),
    "index": lambda gallery: gallery.build_index(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("lines", [2, 65536], ids=["long tables", "short tables"])
def test_every_file_of_a_gallery_is_on_the_disk_before_the_state_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Gallery], object], lines: int
) -> None:
    if change is CHANGES["index"]:
        pytest.importorskip("usearch")
    monkeypatch.setattr(tables, "_ROWS_PER_LINE", lines)
    gallery = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    gallery.add(*rows(9))
    gallery.add(*rows(4, 50))
    before = set(gallery.path.iterdir())
    with watching(monkeypatch) as disk:
        change(gallery)
    new = [path for path in gallery.path.iterdir() if path not in before]
    assert new
    require_durable(disk, gallery.path / "gallery.json", new)


def test_a_new_gallery_and_the_folders_that_it_lies_in_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watching(monkeypatch) as disk:
        gallery = Gallery.create(tmp_path / "deep" / "er" / "g", space=SPACE, dim=8)
    require_durable(disk, gallery.path / "gallery.json", [])
    for folder in (tmp_path, tmp_path / "deep", tmp_path / "deep" / "er"):
        assert disk.last("sync", folder) >= 0, folder


def test_a_signature_of_a_gallery_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = key_pair(tmp_path, "maker")
    gallery = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    with watching(monkeypatch) as disk:
        gallery.sign(private)
    require_durable(disk, gallery.path / "signature.json", [])


@pytest.mark.parametrize("name", ["new/b", "new/b.zip", "b", "b.zip"])
def test_a_bundle_is_on_the_disk_whole_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / name
    if name.startswith("b"):
        make_bundle(target)
    with watching(monkeypatch) as disk:
        made = make_bundle(target, graph=b"\x08 another", overwrite=True)
    assert disk.last("sync", target.parent) == len(disk.asked) - 1, "its name may be lost"
    assert target.parent == tmp_path or 0 <= disk.last("sync", tmp_path), "the name of its folder may be lost"
    if made.form == "zip":
        require_durable(disk, target, [])
        return
    for path in target.rglob("*"):
        if path.is_file():
            written, named = disk.last("sync", path), disk.last("sync", path.parent)
            assert 0 <= written < disk.last("name", path) < named, f"{path} may be lost"
    inner, outer = disk.last("sync", target / "golden"), disk.last("sync", target)
    assert inner < outer < disk.last("sync", target.parent)
    assert Bundle.open(target).read("model.onnx") == b"\x08 another"


def test_a_shard_is_on_the_disk_before_its_record_and_all_of_them_before_the_cutover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = make(tmp_path)
    folder = gallery / "upgrade"
    with watching(monkeypatch) as disk:
        upgrade.run(gallery, Toy(SIDE), side=side, shard_rows=10, block_rows=4, workers=1)
    records = sorted((folder / "shards").glob("shard-*.json"))
    vectors = sorted((folder / "shards").glob("vectors-*"))
    assert len(records) == len(vectors) == 7
    for record, shard in zip(records, sorted(vectors, key=lambda path: path.name[:16]), strict=True):
        require_durable(disk, record, [shard])
    require_durable(disk, folder / "manifest.json", [])
    for name in ("sources", "side"):
        assert 0 <= disk.last("sync", folder / name) < disk.last("name", folder / "manifest.json"), name
    with watching(monkeypatch) as disk:
        upgrade.cutover(gallery, unverified=True)
    tables = [path for path in gallery.glob("rows-*") if disk.last("sync", path) >= 0]
    assert tables
    require_durable(disk, gallery / "gallery.json", tables)
    for kept in (folder / "before", folder / "after"):
        written, named = disk.last("sync", kept / "gallery.json"), disk.last("sync", folder)
        assert 0 <= written < named < disk.last("name", gallery / "gallery.json"), kept
    number = _number(folder)
    with watching(monkeypatch) as disk:
        upgrade.discard(gallery, old=True)
    assert ("sync", number) in disk.asked, "a discarded upgrade may be back"


def test_a_copy_where_the_system_makes_no_links_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"content")

    def none(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "link", none)
    with watching(monkeypatch) as disk:
        link_or_copy(tmp_path / "f", tmp_path / "copy")
    assert 0 <= disk.last("sync", tmp_path / "copy") < disk.last("name", tmp_path / "copy")
