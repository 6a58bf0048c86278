"""A whole upgrade beside a writer: python -m tests.sdk.upgrade.live FOLDER ROUNDS.

Each round makes a gallery, and plans, runs, verifies, cuts over and rolls back while a thread adds rows and removes
some, as fast as it may. It prints, as JSON, how often a step failed, rows lost, and the longest wait of the writer.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from compat_sdk import upgrade
from compat_sdk.errors import CompatError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk.upgrade.toy import Toy, make, vectors


@dataclass
class Writer:
    """Adds and removes rows until it is told to stop; follows the gallery into its new space and back.

    ``present`` are the ids that it and `make` added and nobody removed, as each call acknowledged it.
    """

    gallery: Path
    pause_s: float
    present: set[str]
    changes: int = 0
    longest_s: float = 0.0
    failures: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        """Write until told to stop."""
        try:
            opened = Gallery.open(self.gallery, verify=False)
            while not self.stop.is_set():
                began = time.monotonic()
                self._change(opened)
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.changes += 1
                time.sleep(self.pause_s)
        except BaseException as error:
            self.failures.append(error)

    def _change(self, opened: Gallery) -> None:
        id = f"added-{self.changes}"
        try:
            opened.add(Embeddings(vectors(1, opened.dim, self.changes), opened.space), [id], ["late"])
            self.present.add(id)
        except IncompatibleSpaceError:  # it was cut over, or rolled back
            opened.reload()
            return
        if self.changes % 3 == 2:
            gone = {f"added-{self.changes - 2}", f"image-{self.changes % 60}"}
            opened.remove(gone)
            self.present -= gone


def upgraded_beside_a_writer(folder: Path, pause_s: float) -> tuple[Writer, list[str]]:
    """Upgrade a gallery and bring it back beside a writer; return the writer, and what failed."""
    gallery, _ = make(folder, (40, 20, 3, 1))
    writer = Writer(gallery, pause_s, set(Gallery.open(gallery).ids))
    thread = threading.Thread(target=writer)
    thread.start()
    failed, dropped = list[str](), list[str]()

    def step(name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except CompatError as error:
            failed.append(f"{name}: {error}")

    def verify() -> None:
        if problems := upgrade.verify(gallery, Toy(None)).problems:
            raise CompatError(problems[0])

    try:
        for _ in range(2):  # the second time after additions
            step("plan", lambda: upgrade.plan(gallery, Toy(None)))
            step("run", lambda: upgrade.run(gallery, Toy(None), workers=1))
            step("verify", verify)
        step("gallery", lambda: failed.extend(Gallery.open(gallery).verify()))
        step("cutover", lambda: upgrade.cutover(gallery, Toy(None), unverified=True))
        step("verify", verify)
        step("rollback", lambda: dropped.extend(upgrade.rollback(gallery, drop_added=True).dropped))
    finally:
        writer.stop.set()
        thread.join()
    writer.present -= set(dropped)
    return writer, failed


def lost(writer: Writer) -> set[str]:
    """Ids of rows that the gallery should have and has not, or the reverse."""
    opened = Gallery.open(writer.gallery)
    return set(opened.ids) ^ writer.present


def main() -> None:
    """Print what many rounds found."""
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    failures, missing, longest, changes = list[str](), 0, 0.0, 0
    for number in range(rounds):
        place = folder / str(number)
        writer, failed = upgraded_beside_a_writer(place, 0.0)
        failures += failed + [str(error) for error in writer.failures]
        missing += len(lost(writer))
        longest, changes = max(longest, writer.longest_s), changes + writer.changes
        shutil.rmtree(place)
    found = {"rounds": rounds, "changes": changes, "failures": failures, "lost": missing, "longest_wait_s": longest}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
