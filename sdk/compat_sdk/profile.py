"""What a bundle costs to run: operations, latency cold and warm, peak memory.

Warm latency is measured here, after a warm-up. A cold start and its peak memory can only be measured in a
process that has done nothing else, so a fresh interpreter is started for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compat_sdk.bundle import Bundle
from compat_sdk.embedder import Embedder
from compat_sdk.errors import CompatError, ConfigError

PEAK_MEANING = (
    "highest resident memory of a fresh process that imported compat_sdk and the engine, loaded the bundle and "
    "embedded one image; nothing subtracted. baseline_mib is the same process before the engine and the bundle"
)
ENOUGH_RUNS = 20


@dataclass(frozen=True)
class Latency:
    """Warm time of one call.

    Attributes:
        p50_ms: Median, in milliseconds.
        p95_ms: 95th percentile, in milliseconds.
        runs: Calls measured, after the warm-up.
    """

    p50_ms: float
    p95_ms: float
    runs: int


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


@dataclass(frozen=True)
class Profile:
    """What one model costs at one image size, on one engine, one image at a time.

    Attributes:
        name: An architecture, a run or a bundle.
        size: Height and width of the input, in pixels.
        mmacs: Millions of multiply-accumulates in convolutions and linear layers, per image.
        mmacs_paper: The same plus 2 per batch-norm output element, as the papers count.
        params_m: Millions of parameters.
        engine: Name of the inference engine.
        threads: Threads the engine was given.
        warm: From ``uint8`` pixels of the model's size to an embedding; image decoding is not in it.
        cold: The first embedding in a fresh process.
        bundle_mib: Size of the bundle on disk.
    """

    name: str
    size: int
    mmacs: float
    mmacs_paper: float
    params_m: float
    engine: str
    threads: int
    warm: Latency
    cold: ColdStart
    bundle_mib: float

    def to_json(self) -> dict[str, object]:
        """The object that ``compat-sdk profile --json`` lists."""
        return {
            "name": self.name,
            "size": self.size,
            "mmacs": self.mmacs,
            "mmacs_paper": self.mmacs_paper,
            "params_m": self.params_m,
            "engine": self.engine,
            "threads": self.threads,
            "latency_ms": {"p50": self.warm.p50_ms, "p95": self.warm.p95_ms, "cold": self.cold.total_ms},
            "cold_ms": {"load": self.cold.load_ms, "first": self.cold.first_ms},
            "runs": self.warm.runs,
            "peak_mib": self.cold.peak_mib,
            "baseline_mib": self.cold.baseline_mib,
            "peak_note": self.cold.note,
            "bundle_mib": self.bundle_mib,
        }


def measure_latency(run: Callable[[], object], *, warmup: int = 10, runs: int = 100, budget_s: float = 10.0) -> Latency:
    """Warm latency of one call.

    Args:
        run: The call; its result is dropped.
        warmup: Calls before the clock starts, at least 0.
        runs: Calls measured one by one, at least 1.
        budget_s: Once the measured calls have taken this many seconds, 20 of them are enough.

    Returns:
        Median and 95th percentile of the wall-clock time, and how many calls they come from.

    Raises:
        ConfigError: ``warmup`` or ``runs`` is out of range.
    """
    if warmup < 0 or runs < 1:
        raise ConfigError(f"found warmup={warmup}, runs={runs}; expected warmup at least 0 and runs at least 1")
    for _ in range(warmup):
        run()
    times: list[int] = []
    while len(times) < min(runs, ENOUGH_RUNS) or (len(times) < runs and sum(times) < budget_s * 1e9):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    p50, p95 = np.percentile(np.array(times) / 1e6, (50, 95))
    return Latency(float(p50), float(p95), len(times))


def profile_bundle(
    path: str | Path,
    *,
    engine: str = "auto",
    threads: int = 1,
    name: str | None = None,
    runs: int = 100,
    cold_starts: int = 3,
) -> Profile:
    """Profile a bundle on its first golden image.

    Args:
        path: The bundle's folder.
        engine: ``"auto"`` or the name of an inference engine.
        threads: Threads for the engine, at least 1.
        name: What to call it; the bundle's own name if not given.
        runs: Warm calls measured; fewer when they take longer than 10 s.
        cold_starts: Fresh processes started; medians are reported.

    Returns:
        Operations as the bundle records them, and what was measured on this machine.

    Raises:
        BundleError: The bundle is damaged.
        ConfigError: A setting is out of range.
        MissingExtraError: The engine is not installed.
    """
    if threads < 1 or cold_starts < 1:
        raise ConfigError(f"found threads={threads}, cold_starts={cold_starts}; expected at least 1 of each")
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    embedder = Embedder.load(bundle, engine=engine, threads=threads)
    image = bundle.golden()[0][:1]
    warm = measure_latency(lambda: embedder.embed_pixels(image), runs=runs)
    cold = measure_cold_start(path, engine=engine, threads=threads, starts=cold_starts)
    return Profile(
        name=manifest.name if name is None else name,
        size=manifest.preprocessing.size,
        mmacs=manifest.mmacs,
        mmacs_paper=manifest.mmacs_paper,
        params_m=manifest.params_m,
        engine=embedder.engine.name,
        threads=threads,
        warm=warm,
        cold=cold,
        bundle_mib=sum(file.bytes for file in manifest.files.values()) / 2**20,
    )


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
embedder = Embedder.load(bundle, engine=sys.argv[2], threads=int(sys.argv[3]))
loaded = time.perf_counter()
image = bundle.golden()[0][:1]
ready = time.perf_counter()
embedder.embed_pixels(image)
done = time.perf_counter()
print(json.dumps({"load_ms": 1e3 * (loaded - begin), "first_ms": 1e3 * (done - ready),
                  "baseline_mib": baseline, "peak_mib": peak_mib()}))
"""


def measure_cold_start(path: str | Path, *, engine: str = "auto", threads: int = 1, starts: int = 3) -> ColdStart:
    """Time and memory of the first embedding in fresh processes.

    Args:
        path: The bundle's folder.
        engine: ``"auto"`` or the name of an inference engine.
        threads: Threads for the engine, at least 1.
        starts: Processes started one after the other, at least 1.

    Returns:
        Medians over the processes.

    Raises:
        CompatError: A process failed; the message ends with its last line.
    """
    package_root = str(Path(__file__).resolve().parent.parent)
    # -P: a numpy.py in the caller's folder must not be imported.
    command = [sys.executable, "-P", "-c", _CHILD, os.fspath(path), engine, str(threads), package_root]
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


def format_table(profiles: Sequence[Profile]) -> str:
    """The profiles as an aligned plain-text table, one row each, with a heading and units."""
    rows = [("model", "size", "MMAC", "paper", "params M", "engine", "p50 ms", "p95 ms", "cold ms", "peak MiB")]
    for p in profiles:
        peak = "-" if p.cold.peak_mib is None else f"{p.cold.peak_mib:.0f}"
        operations = (f"{p.mmacs:.1f}", f"{p.mmacs_paper:.1f}", f"{p.params_m:.2f}")
        times = (f"{p.warm.p50_ms:.2f}", f"{p.warm.p95_ms:.2f}", f"{p.cold.total_ms:.0f}")
        rows.append((p.name, str(p.size), *operations, p.engine, *times, peak))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text_columns = (0, 5)
    lines = [
        "  ".join(
            cell.ljust(width) if i in text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
