"""A bundle that takes another's place: at every moment one of the two is there, whole, for whoever opens it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compat_sdk.bundle import Bundle, folder, replacement
from compat_sdk.bundle import bundle as bundle_module
from compat_sdk.bundle.publish import publish
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, ConfigError
from tests.sdk.bundles import LinearEngine, make_bundle

ROUNDS = 25


def forms(place: Path, name: str) -> tuple[Bundle, Bundle]:
    """Two bundles of different content, beside the place."""
    one, other = (make_bundle(place / f"{graph}-{name}", graph=b"\x08" + graph.encode()) for graph in ("one", "other"))
    return one, other


@pytest.mark.parametrize("name", ["there", "there.zip"])
def test_what_came_into_the_place_while_a_bundle_was_made_is_not_deleted(tmp_path: Path, name: str) -> None:
    source, target = make_bundle(tmp_path / "source").path, tmp_path / name
    make_bundle(target)
    contents = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    theirs = target / "mine.txt" if target.is_dir() else target

    def verify(_: object) -> None:  # which takes a while
        theirs.write_text("mine")

    with pytest.raises(ConfigError, match=r"not overwritten|holds"):
        publish(target, contents, verify=verify, overwrite=True)
    assert theirs.read_text() == "mine" and not list(tmp_path.glob(".there*"))


@pytest.mark.parametrize(
    ("name", "exchange"),
    [("there", True), ("there", False), ("there.zip", True)],
    ids=["folders in one step", "folders in two steps", "zips"],
)
def test_a_reader_never_meets_a_place_without_a_bundle_or_a_mixture_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    one, other = forms(tmp_path, name)
    target = tmp_path / name
    one.copy_to(target)
    done, failed, seen = threading.Event(), list[str](), set[str]()

    def read() -> None:
        while not done.is_set():
            try:
                opened = Embedder.load(target, engine=LinearEngine()).bundle
                seen.add(opened.digest)
                assert Bundle.open(target).digest in (one.digest, other.digest)
            except Exception as error:
                failed.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(ROUNDS):
        (other if step % 2 == 0 else one).copy_to(target, overwrite=True)
    done.set()
    for reader in readers:
        reader.join()
    assert failed == [] and seen <= {one.digest, other.digest}
    assert {path.name for path in tmp_path.iterdir()} == {name, one.path.name, other.path.name}


@pytest.mark.skipif(sys.platform != "linux", reason="what other systems can, their file systems say")
def test_a_folder_is_replaced_in_one_step_on_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_replace_in_two_steps", lambda *_: pytest.fail("there was a moment without a bundle"))
    one, other = forms(tmp_path, "there")
    one.copy_to(tmp_path / "place")
    other.copy_to(tmp_path / "place", overwrite=True)
    assert Bundle.open(tmp_path / "place").digest == other.digest


def test_what_was_opened_before_says_that_it_was_replaced(tmp_path: Path) -> None:
    one, other = forms(tmp_path, "there")
    opened = one.copy_to(tmp_path / "place")
    other.copy_to(tmp_path / "place", overwrite=True)
    with pytest.raises(BundleError, match="changed since the bundle was opened; open it again"):
        opened.read("model.onnx")


def test_a_load_that_is_overtaken_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = forms(tmp_path, "there")
    target = one.copy_to(tmp_path / "place").path
    loads = list[str]()

    def load(bundle: Bundle) -> bytes:
        loads.append(bundle.digest)
        if len(loads) == 1:
            other.copy_to(target, overwrite=True)
        return bundle.read("model.onnx")

    assert bundle_module.opened(target, load) == b"\x08other"
    assert loads == [one.digest, other.digest]


def test_a_folder_left_aside_by_a_killed_writer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "_ASIDE_S", 0.01)
    path = make_bundle(tmp_path / "place").path
    path.rename(tmp_path / ".place.0123456789abcdef.old")
    with pytest.raises(BundleError, match=r"\.place\.0123456789abcdef\.old beside it .* rename it back"):
        Bundle.open(path)
    with pytest.raises(BundleError, match="no folder and no zip file"):
        Bundle.open(tmp_path / "another")


def test_a_failed_second_step_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = forms(tmp_path, "there")
    target = one.copy_to(tmp_path / "place").path
    monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(5, "an input or output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="input or output"):
        other.copy_to(target, overwrite=True)
    assert Bundle.open(target).digest == one.digest
    assert not list(tmp_path.glob(".*"))


WRITER = """
import sys
from compat_sdk.bundle import Bundle
one, other = map(Bundle.open, sys.argv[2:])
print("ready", flush=True)
while True:
    other.copy_to(sys.argv[1], overwrite=True)
    one.copy_to(sys.argv[1], overwrite=True)
"""


@pytest.mark.parametrize("name", ["place", "place.zip"])
def test_a_killed_writer_leaves_the_old_bundle_or_the_new(tmp_path: Path, name: str) -> None:
    one, other = forms(tmp_path, name)
    target = one.copy_to(tmp_path / name).path
    for moment in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, target, one.path, other.path], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        time.sleep(0.011 * moment)
        writer.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        writer.wait()
        writer.stdout.close()
        assert Bundle.open(target).digest in (one.digest, other.digest)
    for stray in tmp_path.glob(".*.tmp"):
        shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
    one.copy_to(target, overwrite=True)
