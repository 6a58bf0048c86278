"""Kills and power losses in every write path: python -m tests.crash --kills 500 --power-loss 2000"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.crash.kills import Found, kill
from tests.crash.power import lose_power
from tests.crash.runtime_paths import runtime_paths
from tests.crash.vector_paths import vector_paths
from tests.crash.write_path import WritePath

_PAGE = Path(__file__).parents[2] / "benchmarks" / "crashes.md"
_KINDS = {"kills": kill, "power-loss": lose_power}


def main() -> None:
    """Print a JSON line for each write path, and write the page; exit code 1 where a fault was found."""
    told = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    told.add_argument("paths", nargs="*", help="words of the names of write paths; all if none is given")
    told.add_argument("--kills", type=int, default=0, help="of each write path")
    told.add_argument("--power-loss", type=int, default=0, help="states of each write path")
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--page", type=Path, help="write the tables here, such as benchmarks/crashes.md")
    given = told.parse_args()
    wanted = [path for path in write_paths() if not given.paths or any(word in path.name for word in given.paths)]
    tables: dict[str, dict[str, Found]] = {}
    for kind, count in (("kills", given.kills), ("power-loss", given.power_loss)):
        for path in wanted if count else ():
            with tempfile.TemporaryDirectory(prefix="crash-") as work:
                found = _KINDS[kind](path, Path(work), count, random.Random(f"{given.seed} {path.name}"))
            tables.setdefault(kind, {})[path.name] = found
            print(json.dumps({"kind": kind, "path": path.name, **_figures(found), "of": found.faults}), flush=True)  # noqa: T201
    if given.page is not None:
        given.page.write_text(_page(tables), "utf-8")
    raise SystemExit(any(found.faults for table in tables.values() for found in table.values()))


def write_paths() -> Iterator[WritePath]:
    """Those of the runtime, and those of trainings where torch is installed."""
    yield from runtime_paths()
    yield from vector_paths()
    if importlib.util.find_spec("torch"):
        from tests.crash.training_paths import training_paths

        yield from training_paths()


def _figures(found: Found) -> dict[str, int]:
    return {
        "crashes": found.crashes,
        "inside": found.inside,
        "unacknowledged": found.unacknowledged,
        "states": len(found.states),
        "faults": sum(found.faults.values()),
    }


def _page(tables: dict[str, dict[str, Found]]) -> str:
    crashes = sum(found.crashes for table in tables.values() for found in table.values())
    lost = sum(sum(found.faults.values()) for table in tables.values() for found in table.values())
    lines = ["# Crashes in the middle of every write path", "", f"**{crashes:,} crashes, {lost:,} faults.**"]
    for kind, title in (("kills", "SIGKILL at random moments"), ("power-loss", "Loss of power")):
        if kind not in tables:
            continue
        lines += ["", f"## {title}", "", "| write path | crashes | inside | done, not acknowledged | states | faults |"]
        lines += ["|---|---|---|---|---|---|"]
        for name, found in tables[kind].items():
            lines.append("| " + " | ".join((name, *(f"{figure:,}" for figure in _figures(found).values()))) + " |")
        faults = sorted({(name, fault) for name, found in tables[kind].items() for fault in found.faults})
        lines += ["", *(f"- {name}: {fault}" for name, fault in faults)]
    lines += ["", "## What was done", "", f"    python -m tests.crash {' '.join(sys.argv[1:])}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
