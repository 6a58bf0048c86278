"""Loss of power at random moments: what a disk may hold then is written out, and looked at."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.crash.disk import Disk
from tests.crash.kills import Found
from tests.crash.write_path import WritePath, quiet


def lose_power(path: WritePath, work: Path, count: int, draw: random.Random) -> Found:
    """Perform the operations once, and look at so many states in which the power may leave them.

    Args:
        path: What is done.
        work: An empty folder.
        count: How many states.
        draw: Source of the moments, and of what is lost.
    """
    states, found = path.states(work / "sound"), Found()
    (work / "watched").mkdir()
    with quiet():
        path.prepare(work / "watched")
        disk = Disk(work / "watched")
        with disk.watching():
            for step in path.steps:
                step(work / "watched")
                disk.acknowledge()
    for _ in range(count):
        acknowledged = disk.after_power_loss(work / "crash", draw)
        found.judge(path, work / "crash", acknowledged, states)
        shutil.rmtree(work / "crash")
    return found
