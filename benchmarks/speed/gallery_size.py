"""Memory and time of what works on a large gallery, each in a process of its own.

    python -m benchmarks.speed.gallery_size --folder EMPTY_FOLDER [--rows 200000 1000000 10000000] [--steps open search]

Rows have 16 numbers, so that ids weigh. Memory is the most that the process held beside mapped files, sampled every
10 ms, less what it held before the step. Time is the process's own. JSON goes to stdout, a line each to stderr.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.speed.upgrade_galleries import make_gallery, random_rows, unit
from compat_sdk import upgrade
from compat_sdk.gallery import Gallery, Where
from compat_sdk.space import Embeddings, TransformSpaces

ROOT = Path(__file__).resolve().parents[2]
DIM = 16
OLD, NEW = "old-16-benchmark", "new-16-benchmark"


@dataclass(frozen=True)
class Turned:
    """A transform that turns every row around, and its own opener."""

    name: str = "turned"

    @property
    def spaces(self) -> TransformSpaces:
        """From the old one to the new one."""
        return TransformSpaces(OLD, DIM, None, None, NEW, DIM)

    @property
    def identity(self) -> Mapping[str, str]:
        """One transform, one identity."""
        return {"name": self.name}

    def __call__(self) -> Turned:
        """Open it."""
        return self

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return unit rows."""
        return unit(np.ascontiguousarray(old[:, ::-1]))


def _searched(gallery: Gallery, where: Where | None = None) -> None:
    for number in range(3):
        gallery.search(Embeddings(random_rows(1, DIM, 9 + number), OLD), 10, where=where)


STEPS: dict[str, Callable[[Path], object]] = {
    "open": lambda path: Gallery.open(path, verify=False),
    "open and compare": Gallery.open,
    "search": lambda path: _searched(Gallery.open(path, verify=False)),
    "search by label": lambda path: _searched(Gallery.open(path, verify=False), Where(labels=[""])),
    "info": lambda path: Gallery.open(path, verify=False).info(),
    "verify": lambda path: Gallery.open(path, verify=False).verify(),
    "plan": lambda path: upgrade.plan(path, Turned()),
    "add": lambda path: Gallery.open(path, verify=False).add(Embeddings(random_rows(1, DIM, 7), OLD), ["one more"]),
}


def _held_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


def measure(step: str, path: Path) -> dict[str, object]:
    """Do one step here, and return what it took."""
    most, over = [before := _held_mib()], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most.append(_held_mib())

    thread = threading.Thread(target=watch)
    thread.start()
    start, wall = time.process_time(), time.perf_counter()
    kept = STEPS[step](path)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    over.set()
    thread.join()
    del kept
    return {"step": step, "mib": round(max(most) - before, 1), "cpu_s": round(seconds, 3), "wall_s": round(wall, 3)}


def main() -> None:
    """Make the galleries, take each step in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000, 10_000_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--one", nargs=2, metavar=("STEP", "GALLERY"), help="take one step of this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]))))
        return
    found = []
    for rows in options.rows:
        path = options.folder / f"rows-{rows}"
        make_gallery(path, OLD, DIM, rows, 1)
        for step in options.steps:
            words = [sys.executable, "-m", "benchmarks.speed.gallery_size", "--folder", ".", "--one", step, str(path)]
            done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            found.append({"rows": rows, **json.loads(done.stdout)})
            print(found[-1], file=sys.stderr, flush=True)
        shutil.rmtree(path)
    print(json.dumps({"machine": machine(), "dim": DIM, "steps": found}, indent=2))


if __name__ == "__main__":
    main()
