"""The first use of a bundle in a process that has done nothing else: time and peak memory.

Neither can be measured in a process that runs already, so a fresh interpreter is started for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compat_sdk.errors import CompatError

PEAK_MEANING = (
    "highest resident memory of a fresh process that imported compat_sdk and the engine, loaded the bundle and "
    "embedded one image; nothing subtracted. baseline_mib is the same process before the engine and the bundle"
)


@dataclass(frozen=True)
class ColdStart:
    """First use in a fresh process; the medians of several, with the files already in the system's cache.

    Attributes:
        load_ms: Verify the bundle, import the engine and load the graph.
        first_ms: The first embedding after that.
        peak_mib: Highest resident memory of the process, or None where the system does not tell.
        baseline_mib: The same, before the engine and the bundle were loaded.
        note: What ``peak_mib`` is, or why it is None.
    """

    load_ms: float
    first_ms: float
    peak_mib: float | None
    baseline_mib: float | None
    note: str

    @property
    def total_ms(self) -> float:
        """From an imported ``compat_sdk`` to the first embedding, in milliseconds."""
        return self.load_ms + self.first_ms


# ru_maxrss survives exec on Linux, so that a child of a large process would report its parent's peak;
# VmHWM starts anew with the program. macOS and the BSDs have ru_maxrss only; Windows has neither.
_CHILD = """
import json, sys, time
sys.path.append(sys.argv[4])
from compat_sdk.bundle import Bundle
from compat_sdk.embedder import Embedder

def peak_mib():
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

baseline = peak_mib()
begin = time.perf_counter()
bundle = Bundle.open(sys.argv[1])
if sys.argv[6] not in ("", bundle.digest):
    raise SystemExit("the bundle changed since it was opened; open it again")
embedder = Embedder.load(
    bundle, engine=sys.argv[2], threads=int(sys.argv[3]) or None, precision=sys.argv[5] or None
)
loaded = time.perf_counter()
image = bundle.golden()[0][:1]
ready = time.perf_counter()
embedder.embed_pixels(image)
done = time.perf_counter()
print(json.dumps({"load_ms": 1e3 * (loaded - begin), "first_ms": 1e3 * (done - ready),
                  "baseline_mib": baseline, "peak_mib": peak_mib()}))
"""


def measure_cold_start(
    path: str | Path,
    *,
    engine: str = "auto",
    threads: int | None = 1,
    precision: str | None = None,
    starts: int = 3,
    digest: str = "",
) -> ColdStart:
    """Time and memory of the first embedding in fresh processes.

    Args:
        path: The bundle's folder.
        engine: ``"auto"`` or the name of an inference engine.
        threads: Threads for the engine, at least 1; None leaves it to the engine.
        precision: Of the graph; None takes the engine's first listed one.
        starts: Processes started one after the other, at least 1.
        digest: `compat_sdk.bundle.Bundle.digest` of the bundle that is meant: no other is loaded; any if not given.

    Returns:
        Medians over the processes.

    Raises:
        CompatError: A process failed; the message ends with its last line.
    """
    package_root = str(Path(__file__).resolve().parents[2])
    # -P: a numpy.py in the caller's folder must not be imported.
    command = [sys.executable, "-P", "-c", _CHILD, os.fspath(path), engine, str(threads or 0), package_root]
    command += [precision or "", digest]
    found: list[dict[str, float | None]] = []
    for _ in range(starts):
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode != 0:
            last = (child.stderr.strip().splitlines() or ["no message"])[-1]
            raise CompatError(
                f"a fresh process that loads {path} ended with code {child.returncode}: {last}; expected it to "
                f"embed one image; try `compat-sdk bundle verify {path}`"
            )
        found.append(json.loads(child.stdout.strip().splitlines()[-1]))
    peak = _median(found, "peak_mib")
    return ColdStart(
        load_ms=_median(found, "load_ms") or 0.0,
        first_ms=_median(found, "first_ms") or 0.0,
        peak_mib=peak,
        baseline_mib=_median(found, "baseline_mib"),
        note=PEAK_MEANING if peak is not None else f"{sys.platform} does not report a process's peak memory",
    )


def _median(found: Sequence[dict[str, float | None]], key: str) -> float | None:
    values = [value for row in found if (value := row[key]) is not None]
    return float(np.median(values)) if values else None
