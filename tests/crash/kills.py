"""SIGKILL at random moments: a child performs the operations, its parent kills it and looks at what is there."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.write_path import WritePath, quiet

_RANDOM = re.compile(r"[0-9a-f]{12,}")
_LATE_S = 0.001  # a sleep may last so much longer, and an operation less
_NUMBERS = 3  # children that are left alone, to know how long the operations take


@dataclass
class Found:
    """What crashes of one write path have left.

    Attributes:
        crashes: How many there were.
        inside: Of these, before the last operation had returned.
        unacknowledged: Of these, with the whole of an operation that had not returned.
        states: Different sets of files that were left, by their names without random parts and by sizes.
        faults: What was wrong, and how often.
    """

    crashes: int = 0
    inside: int = 0
    unacknowledged: int = 0
    states: set[tuple[tuple[str, int], ...]] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)

    def judge(self, path: WritePath, folder: Path, acknowledged: int, states: list[object]) -> None:
        """Add a crash that left ``folder``, after so many operations had returned."""
        self.crashes += 1
        self.inside += acknowledged < len(path.steps)
        self.states.add(_shape(folder))
        done, fault = path.check(folder, acknowledged, states)
        self.unacknowledged += done > acknowledged
        if fault is not None:
            self.faults[fault] += 1


def kill(path: WritePath, work: Path, count: int, draw: random.Random) -> Found:
    """Kill so many children of this process at random moments of the operations.

    Args:
        path: What they do.
        work: An empty folder.
        count: How many.
        draw: Source of the moments.
    """
    states, found = path.states(work / "sound"), Found()
    prepared, folder = work / "prepared", work / "crash"
    prepared.mkdir()
    with quiet():
        path.prepare(prepared)
    took = []
    for number in range(_NUMBERS + count):
        shutil.copytree(prepared, folder)
        if number < _NUMBERS:
            acknowledged, seconds = _child(path, folder, None)
            if acknowledged != len(path.steps):
                raise RuntimeError(f"the operations of {path.name} failed without being killed")
            took.append(seconds)
        else:
            acknowledged, _ = _child(path, folder, draw.random() * min(took))
            found.judge(path, folder, acknowledged, states)
        shutil.rmtree(folder)
    return found


def _child(path: WritePath, folder: Path, dies_after_s: float | None) -> tuple[int, float]:
    """Run the operations in a child and kill it if so; how many it has acknowledged, and the seconds it lived."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(heard)
            os.write(told, b".")
            with quiet():
                for step in path.steps:
                    step(folder)
                    os.write(told, b".")
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(heard, "rb", buffering=0) as acknowledgements:
        acknowledgements.read(1)
        begun = time.perf_counter()
        if dies_after_s is not None:
            time.sleep(max(0.0, dies_after_s - _LATE_S))
            while time.perf_counter() - begun < dies_after_s:
                pass
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return len(acknowledgements.read() or b""), time.perf_counter() - begun


def _shape(folder: Path) -> tuple[tuple[str, int], ...]:
    files = ((_RANDOM.sub("*", str(one.relative_to(folder))), one) for one in folder.rglob("*"))
    return tuple(sorted((name, one.stat().st_size if one.is_file() else -1) for name, one in files))
