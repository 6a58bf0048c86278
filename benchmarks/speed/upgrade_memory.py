"""Peak memory of an upgrade, in a process of its own: a part of upgrade_speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.upgrade_galleries import DIM, OLD, SIDE, Cheap, make_gallery, peak_mib
from compat_sdk import upgrade

ROOT = Path(__file__).resolve().parents[2]


def memory(folder: Path, rows: int) -> dict[str, Any]:
    """Run in a process of its own with two workers, and return the peaks that it tells."""
    make_gallery(folder / "gallery", OLD, DIM, rows, 1)
    make_gallery(folder / "side", SIDE, DIM, rows, 2)
    words = [sys.executable, "-m", "benchmarks.speed.upgrade_memory", str(folder.resolve())]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return {"rows": rows, **json.loads(done.stdout)}


def steer(folder: Path) -> None:
    """The process whose memory is measured."""
    peaks = folder / "peaks"
    peaks.mkdir()
    opener = Cheap(peaks=str(peaks))
    found = upgrade.run(folder / "gallery", opener, side=folder / "side", workers=2, shard_rows=1 << 15)
    after_run = peak_mib()
    upgrade.cutover(folder / "gallery", unverified=True)
    workers = [float(path.read_text()) for path in peaks.iterdir()]
    facts = {
        "steering_peak_mib": round(after_run, 1),
        "steering_peak_mib_with_cutover": round(peak_mib(), 1),
        "worker_peak_mib": round(max(workers), 1),
        "workers": len(workers),
        "rows_per_second_two_workers": round(found.rows / found.seconds, 1),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    steer(Path(sys.argv[1]))
