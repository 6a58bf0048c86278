"""Gives every reader mutants in a process of its own: python -m tests.fuzz --mutants 5000, or --hours 2"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.engine import Fuzz, Tally
from tests.fuzz.reader import Reader
from tests.fuzz.readers import readers

_MEMORY = 2 << 30
_PATIENCE_S = 120
_BATCH = 500


def main() -> None:
    """Print a JSON line for each reader; exit code 1 where a fault was found."""
    told = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    told.add_argument("readers", nargs="*", help="names of readers; all if none is given")
    told.add_argument("--mutants", type=int, default=5000, help="of each reader")
    told.add_argument("--hours", type=float, help="go on for so long, round after round, instead")
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--no-guide", action="store_true", help="do not follow the lines that are reached: faster")
    told.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what shows a fault")
    told.add_argument("--page", type=Path, help="write the table of a benchmark's page here")
    given = told.parse_args()
    chosen = [reader for reader in readers() if not given.readers or reader.name in given.readers]
    until = None if given.hours is None else time.monotonic() + 3600 * given.hours
    totals = {reader.name: Tally() for reader in chosen}
    seed = given.seed
    while True:
        for reader in chosen:
            _many(reader, totals[reader.name], given.mutants, seed, given.findings, guided=not given.no_guide)
            print(_line(reader, totals[reader.name]), flush=True)  # noqa: T201
        seed += 1
        if until is None or time.monotonic() >= until:
            break
    if given.page is not None:
        given.page.write_text(_page(totals), "utf-8")
    print(json.dumps({"mutants": sum(total.mutants for total in totals.values())}))  # noqa: T201
    raise SystemExit(any(total.faults for total in totals.values()))


def _many(reader: Reader, total: Tally, mutants: int, seed: int, findings: Path, *, guided: bool) -> None:
    """Add to ``total``; a batch whose process dies is counted as a fault, its files kept."""
    for start in range(0, mutants, _BATCH):
        count = min(_BATCH, mutants - start)
        with tempfile.TemporaryDirectory() as work:
            report, child = Path(work) / "report.json", os.fork()
            if child == 0:
                try:
                    _in_child(reader, Path(work), report, count, f"{seed}/{start}", findings, guided)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(0 if report.exists() else 1)
            status = _wait(child)
            if report.exists():
                found = json.loads(report.read_text())
                total.read += found["read"]
                total.refused += found["refused"]
                total.faults.update(Counter(found["faults"]))
            else:
                total.faults[f"the process ended with status {status}, seed {seed}/{start}"] += 1


def _in_child(reader: Reader, work: Path, report: Path, count: int, seed: str, findings: Path, guided: bool) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _MEMORY, held + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tally, draw = Tally(), random.Random(seed)
    fuzz = Fuzz(reader, work, findings=findings / seed.replace("/", "-"), guided=guided)
    for _ in range(count):
        fuzz.try_one(draw, tally)
    report.write_text(json.dumps({"read": tally.read, "refused": tally.refused, "faults": tally.faults}))


def _wait(child: int) -> int:
    """The status of the process; it is killed where it takes far longer than its own alarms allow."""
    until = time.monotonic() + _PATIENCE_S * 5
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.02)
    os.kill(child, 9)
    return os.waitpid(child, 0)[1]


def _page(totals: dict[str, Tally]) -> str:
    """The results as benchmarks/fuzzing.md has them."""
    told = " ".join(sys.argv[1:])
    mutants = sum(tally.mutants for tally in totals.values())
    faults = sum(sum(tally.faults.values()) for tally in totals.values())
    kinds = sorted({(name, fault) for name, tally in totals.items() for fault in tally.faults})
    lines = [
        "# Mutants of every file that is read",
        "",
        f"**{mutants:,} mutants, {faults:,} faults: all others were read as they are, or refused in a short line.**",
        "",
        "| reader | mutants | read | refused | faults |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {tally.mutants:,} | {tally.read:,} | {tally.refused:,} | {sum(tally.faults.values()):,} |"
            for name, tally in totals.items()
        ),
        "",
        "A fault is a traceback, a hang, a message of more than 300 characters, or a process that died. So is another",
        "answer than the file's, where a digest covers it.",
        *(f"\n- {name}: {fault}" for name, fault in kinds),
        "",
        "## What was done",
        "",
        f"    python -m tests.fuzz {told}",
        "",
        f"Each batch of {_BATCH} ran in a process with {_MEMORY >> 30} GiB of memory.",
    ]
    return "\n".join(lines) + "\n"


def _line(reader: Reader, tally: Tally) -> str:
    counts = {"reader": reader.name, "mutants": tally.mutants, "read": tally.read, "refused": tally.refused}
    return json.dumps(counts | {"faults": dict(tally.faults)})


if __name__ == "__main__":
    main()
