"""Several writers of one gallery, and a gallery that is no longer the one that was opened."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import CompatError, GalleryLockedError
from compat_sdk.gallery import Gallery, store, writer
from compat_sdk.gallery import lock as locks
from compat_sdk.gallery.lock import LOCK_FILE, write_lock
from compat_sdk.gallery.state import State
from compat_sdk.space import Embeddings

SPACE = "toy-8"


def rows(count: int, seed: int) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), SPACE)


def make(path: Path, name: str, seed: int) -> Gallery:
    gallery = Gallery.create(path, space=SPACE, dim=8)
    gallery.add(rows(3, seed), [f"{name}-{number}" for number in range(3)])
    return gallery


def test_an_old_handle_goes_on_with_a_folder_that_was_built_anew(tmp_path: Path) -> None:
    old = make(tmp_path / "g", "old", 0)
    shutil.rmtree(tmp_path / "g")
    new = make(tmp_path / "g", "new", 1)
    assert new.info()["generation"] == old.info()["generation"]
    old.add(rows(1, 2), ["late"])
    again = Gallery.open(tmp_path / "g")
    assert again.ids == old.ids == ("new-0", "new-1", "new-2", "late") and again.verify() == []


def test_an_old_handle_goes_on_with_a_folder_that_was_restored_from_a_copy(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    shutil.copytree(tmp_path / "g", tmp_path / "copy")
    gallery.add(rows(1, 1), ["lost"])
    other = Gallery.open(tmp_path / "copy")
    other.add(rows(1, 2), ["other"])
    shutil.rmtree(tmp_path / "g")
    shutil.copytree(tmp_path / "copy", tmp_path / "g")
    assert other.info()["generation"] == gallery.info()["generation"]
    gallery.remove(["old-0"])
    again = Gallery.open(tmp_path / "g")
    assert again.ids == ("old-1", "old-2", "other") and again.verify() == []


@pytest.mark.parametrize("before", ["write_segment", "write_state"])
def test_an_acknowledged_addition_survives_a_writer_whose_lock_file_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    slow = make(tmp_path / "g", "old", 0)
    real = getattr(writer, before)
    interrupted = []

    def write(folder: Path, *rest: Any) -> Any:
        if not interrupted:
            interrupted.append(True)
            (folder / LOCK_FILE).unlink()
            thread = threading.Thread(target=in_another_process)
            thread.start()
            thread.join()
        return real(folder, *rest)

    def in_another_process() -> None:
        code = (
            "import sys, numpy as np\nfrom compat_sdk.gallery import Gallery\nfrom compat_sdk.space import Embeddings\n"
            "Gallery.open(sys.argv[1]).add(Embeddings(np.eye(1, 8, dtype=np.float32), 'toy-8'), ['fast'])\n"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "g")], check=True)

    monkeypatch.setattr(writer, before, write)
    slow.add(rows(1, 1), ["slow"])
    again = Gallery.open(tmp_path / "g")
    assert interrupted and again.ids == ("old-0", "old-1", "old-2", "fast", "slow") and again.verify() == []


def test_without_any_lock_no_acknowledged_addition_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "g", "old", 0)

    def unlocked(path: Path) -> object:
        return Path(path).open("ab")

    monkeypatch.setattr(locks, "open_locked", unlocked)
    monkeypatch.setattr(locks._Line, "__init__", _line_that_lets_everyone_pass)
    promised: list[str] = []
    failures: list[BaseException] = []

    def work(name: str) -> None:
        gallery = Gallery.open(tmp_path / "g")
        for number in range(8):
            try:
                gallery.add(rows(1, number), [f"{name}-{number}"], timeout=30)
                promised.append(f"{name}-{number}")
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = Gallery.open(tmp_path / "g")
    assert failures == [] and len(promised) == 32
    assert set(promised) <= set(again.ids) and len(again) == 35 and again.verify() == []


class _Anyone:
    """A queue whose every member is first."""

    def __getitem__(self, _: int) -> object:
        return self

    def append(self, _: object) -> None: ...

    def remove(self, _: object) -> None: ...


def _line_that_lets_everyone_pass(line: locks._Line) -> None:
    class Turn(threading.Condition):
        def wait_for(self, predicate: object, timeout: float | None = None) -> bool:
            return True

    line.turn = Turn()
    line.waiting = _Anyone()  # type: ignore[assignment]


def test_threads_that_share_a_gallery_all_get_their_turn(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(6):
                gallery.add(rows(1, number), [f"{name}-{number}"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(gallery) == 51
    again = Gallery.open(tmp_path / "g")
    assert again.ids == gallery.ids and again.verify() == []


def test_writers_are_served_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    order: list[int] = []
    line = locks._lines.setdefault(str((tmp_path / "g" / LOCK_FILE).resolve()), locks._Line())

    def work(number: int) -> None:
        gallery.add(rows(1, number), [f"new-{number}"])
        order.append(number)

    threads = []
    with write_lock(gallery.path):
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while len(line.waiting) < number + 2:
                pass
    for thread in threads:
        thread.join()
    assert [name for name in gallery.ids if name.startswith("new")] == [f"new-{number}" for number in range(5)]
    assert sorted(order) == list(range(5))


def test_a_writer_that_waited_in_vain_says_how_long(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    with write_lock(gallery.path), pytest.raises(GalleryLockedError, match=r"wait until it is done .*waited 0.05 s"):
        gallery.add(rows(1, 1), ["late"], timeout=0.05)
    gallery.add(rows(1, 1), ["late"], timeout=0)


def test_a_writer_of_another_process_is_waited_for(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    with locks.open_locked(tmp_path / "g" / LOCK_FILE), pytest.raises(GalleryLockedError, match="another process"):
        gallery.add(rows(1, 1), ["late"], timeout=0)
    gallery.add(rows(1, 1), ["late"], timeout=0)


def test_a_commit_that_died_half_way_does_not_stop_the_next_writer(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    half = tmp_path / "g" / f".gallery.json.{gallery._snapshot.state.identity[:16]}.tmp"
    half.write_bytes(b"{")
    gallery.add(rows(1, 1), ["new"])
    assert len(Gallery.open(tmp_path / "g")) == 4 and not half.exists()


def test_a_commit_whose_new_files_are_gone_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = make(tmp_path / "g", "old", 0)
    real = store.write_state

    def write(folder: Path, state: State, before: State | None) -> None:
        (folder / state.segments[-1].vectors.name).unlink()
        real(folder, state, before)

    monkeypatch.setattr("compat_sdk.gallery.writer.write_state", write)
    with pytest.raises(CompatError, match="changed"):
        gallery.add(rows(1, 1), ["new"], timeout=0)
    assert Gallery.open(tmp_path / "g").ids == ("old-0", "old-1", "old-2")


def test_two_processes_cannot_make_one_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "is_new_folder", lambda _: True)
    make(tmp_path / "g", "old", 0)
    with pytest.raises(CompatError, match="another process made a gallery"):
        Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    assert len(Gallery.open(tmp_path / "g")) == 3


def test_a_file_system_without_links_commits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("compat_sdk.gallery.store.os.link", refuse)
    gallery = make(tmp_path / "g", "old", 0)
    gallery.remove(["old-1"])
    assert Gallery.open(tmp_path / "g").ids == ("old-0", "old-2")
    assert sorted(path.suffix for path in (tmp_path / "g").iterdir()) == [".json", ".json", ".lock", ".npy"]
