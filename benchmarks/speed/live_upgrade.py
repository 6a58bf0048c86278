"""A whole upgrade beside a writer and ten readers: what is refused, lost or wrong, and how long the writer waits.

    python -m benchmarks.speed.live_upgrade --folder EMPTY_FOLDER [--rows 200000] [--readers 10]

The writer adds a row, and removes every third of those that it added, as fast as it may. Each reader searches for
stored rows with `Gallery.reload` before each search, and follows the gallery into its new space. An answer is wrong if
the row itself is not the first hit. Steps are plan, run, verify, cutover, verify; rows have 16 numbers.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.speed.gallery_size import DIM, NEW, OLD, Turned
from benchmarks.speed.upgrade_galleries import CHUNK, make_gallery, random_rows
from compat_sdk import upgrade
from compat_sdk.errors import CompatError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings


class Traffic:
    """A writer and readers of one gallery, until ``over``; what they saw."""

    def __init__(self, path: Path, rows: int) -> None:
        self.path, self.over = path, threading.Event()
        self.stored = random_rows(min(CHUNK, rows), DIM, 1)
        self.searches = self.wrong = self.changes = 0
        self.longest_s = 0.0
        self.refused: list[str] = []
        self.added: set[str] = set()

    def write(self) -> None:
        """Add and remove rows."""
        gallery = Gallery.open(self.path, verify=False)
        while not self.over.is_set():
            began, name = time.monotonic(), f"added-{self.changes}"
            try:
                gallery.add(Embeddings(random_rows(1, DIM, 100 + self.changes), gallery.space), [name])
                self.added.add(name)
                if self.changes % 3 == 2:
                    gallery.remove([name])
                    self.added.discard(name)
                self.changes += 1
            except IncompatibleSpaceError:
                gallery.reload()
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def read(self, seed: int) -> None:
        """Search for stored rows."""
        rng, gallery = np.random.default_rng(seed), Gallery.open(self.path, verify=False)
        while not self.over.is_set():
            row = int(rng.integers(len(self.stored)))
            gallery.reload()
            vector = self.stored[row : row + 1]
            asked = vector if gallery.space == OLD else np.ascontiguousarray(vector[:, ::-1])
            try:
                hit = gallery.search(Embeddings(asked, gallery.space), 1)[0][0]
                self.wrong += hit.score < 0.9999 or int(hit.id) % CHUNK != row
            except CompatError as error:
                self.refused.append(str(error))
            self.searches += 1


def main() -> None:
    """Upgrade, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--readers", type=int, default=10)
    options = parser.parse_args()
    path, opener, seconds = options.folder / "live", Turned(), dict[str, float]()
    make_gallery(path, OLD, DIM, options.rows, 1)
    traffic = Traffic(path, options.rows)
    threads = [threading.Thread(target=traffic.write)]
    threads += [threading.Thread(target=traffic.read, args=(number,)) for number in range(options.readers)]
    for thread in threads:
        thread.start()

    def verified() -> None:
        if problems := upgrade.verify(path, opener).problems:
            raise CompatError(problems[0])

    steps: dict[str, Callable[[], object]] = {
        "plan": lambda: upgrade.plan(path, opener),
        "run": lambda: upgrade.run(path, opener, workers=1),
        "verify": verified,
        "cutover": lambda: upgrade.cutover(path, opener, unverified=True),
        "verify after": verified,
    }
    failed = []
    for name, step in steps.items():
        start = time.monotonic()
        try:
            step()
        except CompatError as error:
            failed.append(f"{name}: {error}")
        seconds[name] = round(time.monotonic() - start, 1)
    traffic.over.set()
    for thread in threads:
        thread.join()
    gallery = Gallery.open(path)
    wanted = {*map(str, range(options.rows)), *traffic.added}
    found = {
        "machine": machine(),
        "rows": options.rows,
        "readers": options.readers,
        "seconds": seconds,
        "failed_steps": failed,
        "in_new_space": gallery.space == NEW,
        "searches": traffic.searches,
        "refused_searches": len(traffic.refused),
        "wrong_answers": traffic.wrong,
        "changes": traffic.changes,
        "lost_rows": len(wanted - set(gallery.ids)),
        "rows_too_many": len(set(gallery.ids) - wanted),
        "longest_pause_of_the_writer_s": round(traffic.longest_s, 2),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
