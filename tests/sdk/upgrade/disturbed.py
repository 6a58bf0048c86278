"""Kill upgrades and look at what is left: python -m tests.sdk.upgrade.disturbed FOLDER HOW TRIALS [WORKERS].

HOW is ``time``: SIGKILL after a random time; or ``event``: SIGKILL before one of the file operations of the upgrade,
TRIALS of them spread evenly over all (0 for every one).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from compat_sdk import upgrade
from compat_sdk.gallery import Gallery
from tests.sdk.upgrade.test_run import shard_files
from tests.sdk.upgrade.toy import NEW, OLD, Toy, contents, make

WORKERS = int(sys.argv[4]) if len(sys.argv) > 4 else 1
Contents = tuple[str, tuple[str, ...], tuple[str, ...], bytes]


def forward(folder: Path) -> None:
    """Run and cut over, or what is left of it."""
    gallery = folder / "gallery"
    if Gallery.open(gallery).space == OLD:
        upgrade.run(gallery, Toy(), side=folder / "side", shard_rows=10, workers=WORKERS)
        upgrade.cutover(gallery, unverified=True)


def back(folder: Path) -> None:
    """Roll back, if that is still to be done."""
    if Gallery.open(folder / "gallery").space == NEW:
        upgrade.rollback(folder / "gallery")


def child(work: Callable[[Path], None], folder: Path, die_at: int | None = None) -> tuple[int, int]:
    """Fork a process that does the work, and return its id and a pipe that tells its file operations when it is done.

    It kills itself before the file operation of number ``die_at``.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    try:
        seen = 0

        def watch(event: str, _: object) -> None:
            nonlocal seen
            if event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"):
                seen += 1
                if seen == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        work(folder)
        os.write(write, b"%d" % seen)
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)


def ended(pid: int, pipe: int) -> int | None:
    """Wait for a child; return its file operations, or None if it was killed."""
    told = os.read(pipe, 16)
    os.close(pipe)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return None if os.WIFSIGNALED(status) else int(told)


def disturb(root: Path, how: str, trials: int, work: Callable[[Path], None], states: tuple[Contents, Contents]) -> int:
    """Kill the work many times, each time on a fresh copy, and return how often it was killed before its end."""
    origin, folder = root / work.__name__, root / "disturbed"
    shutil.copytree(origin, folder)
    began = time.perf_counter()
    operations = ended(*child(work, folder))
    seconds = time.perf_counter() - began
    assert operations is not None and contents(folder / "gallery") == states[1]
    shards = shard_files(folder / "gallery")
    shutil.rmtree(folder)
    chance = random.Random(0)
    moments = np.unique(np.linspace(1, operations, trials or operations).astype(int)).tolist()
    killed = 0
    for moment in moments if how == "event" else [None] * trials:
        shutil.copytree(origin, folder)
        pid, pipe = child(work, folder, moment)
        if moment is None:
            time.sleep(chance.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        killed += ended(pid, pipe) is None
        found = contents(folder / "gallery")
        assert found in states, (found[0], len(found[1]))
        assert Gallery.open(folder / "gallery").verify() == []
        work(folder)
        assert contents(folder / "gallery") == states[1]
        assert shard_files(folder / "gallery") == shards
        assert Gallery.open(folder / "gallery").verify() == []
        shutil.rmtree(folder)
    return killed


def main() -> None:
    """Disturb both ways, and print how many were killed before their end."""
    root, how, trials = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    make(root / "forward")
    Gallery.open(root / "forward" / "gallery").remove(["image-5"])
    old = contents(root / "forward" / "gallery")
    shutil.copytree(root / "forward", root / "back")
    forward(root / "back")
    new = contents(root / "back" / "gallery")
    ways = trials - trials // 4
    killed = disturb(root, how, ways, forward, (old, new)) + disturb(root, how, trials - ways, back, (new, old))
    print(killed)  # noqa: T201


if __name__ == "__main__":
    main()
