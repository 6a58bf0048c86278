"""A command that is asked to end, as `docker stop` asks, says so, leaves nothing half done, and has an exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_cli import main
from compat_cli.termination import leaving_when_told
from compat_sdk.gallery import Gallery
from tests.sdk.bundles import make_bundle, onnx_graph

# The command gets the signal when it first asks the disk to keep something, in the middle of its work.
SCRIPT = """
import os, signal, sys
from compat_cli import main
number = getattr(signal, sys.argv.pop(1))
signal.signal(number, signal.SIG_DFL)
usual = os.fsync
os.fsync = lambda file: os.kill(os.getpid(), number) or usual(file)
main()
"""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    for split in ("train", "query", "gallery"):
        for name in ("bag", "cup"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                colours = np.random.default_rng([number, *f"{split}{name}".encode()]).integers(
                    0, 256, (28, 28, 3), np.uint8
                )
                Image.fromarray(colours).save(folder / f"{number}.png")
    make_bundle(tmp_path / "model.bundle", graph=onnx_graph())
    return tmp_path


def told_to_end(work: Path, number: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, number, *words]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=120, check=False)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


TRAIN = ("train", "gallery", "--data", "photos", "--arch", "global:plain:16:s3c3s3", "--size", "28", "--dim", "8",
         "--batch", "8", "--epochs", "2", "--threads", "1", "--out", "run")  # fmt: skip
COMMANDS = {
    "index build": ("index", "build", "--model", "model.bundle", "--images", "photos", "--out", "g"),
    "index add": ("index", "add", "held", "--model", "model.bundle", "--images", "photos"),
    "lock": ("data", "info", "photos", "--lock"),
    "train": TRAIN,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_asked_to_end_says_so_and_leaves_nothing_half_done(work: Path, command: str) -> None:
    if command == "index add":
        with pytest.raises(SystemExit):
            main(["index", "build", "--model", str(work / "model.bundle"), "--images", str(work / "photos" / "query"),
                  "--out", str(work / "held")])  # fmt: skip
    before = names_in(work)
    found = told_to_end(work, "SIGTERM", *COMMANDS[command])
    assert found.returncode == 143, found.stderr
    assert found.stderr == "interrupted; the same command continues where this one stopped\n" and not found.stdout
    assert [name for name in names_in(work) if name not in before and not name.startswith("run")] == []
    if command == "index add":
        assert len(Gallery.open(work / "held")) == 8 and not Gallery.open(work / "held").verify()


def test_a_closed_terminal_is_told_apart_by_the_exit_code(work: Path) -> None:
    assert told_to_end(work, "SIGHUP", *COMMANDS["lock"]).returncode == 129


def test_what_is_ignored_stays_ignored_and_handlers_are_put_back() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGTERM, mine)
    try:
        with leaving_when_told():
            assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)) == (signal.SIG_IGN, mine)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with leaving_when_told():
            assert signal.getsignal(signal.SIGHUP) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_command_runs_in_any_thread() -> None:
    found: list[object] = []

    def run() -> None:
        with pytest.raises(SystemExit) as caught:
            main(["--version"])
        found.append(caught.value.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [0]
