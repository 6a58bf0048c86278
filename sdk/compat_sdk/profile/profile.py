"""What a bundle costs to run: operations, latency cold and warm, peak memory.

Warm latency is measured here, after a warm-up; for the rest see `compat_sdk.profile.cold_start`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compat_sdk.bundle import Bundle, Trust
from compat_sdk.embedder import Embedder
from compat_sdk.engines import choose_graph
from compat_sdk.errors import ConfigError
from compat_sdk.profile.cold_start import ColdStart, measure_cold_start
from compat_sdk.shown import escaped

_ENOUGH_RUNS = 20


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
class Profile:
    """What one model costs at one image size, on one engine, one image at a time.

    Attributes:
        name: An architecture, a run or a bundle.
        size: Height and width of the input, in pixels.
        mmacs: Millions of multiply-accumulates in convolutions and linear layers, per image.
        mmacs_paper: The same plus 2 per batch-norm output element, as the papers count.
        params_m: Millions of parameters.
        engine: Name of the inference engine.
        precision: Number format of the graph that ran.
        threads: Threads the engine was given.
        warm: From ``uint8`` pixels of the model's size to an embedding; image decoding is not in it.
        cold: The first embedding in a fresh process.
        bundle_mib: Size of the bundle on disk.
        graph_mib: Size of the graph that ran, which is what a device must hold.
    """

    name: str
    size: int
    mmacs: float
    mmacs_paper: float
    params_m: float
    engine: str
    precision: str
    threads: int
    warm: Latency
    cold: ColdStart
    bundle_mib: float
    graph_mib: float

    def to_json(self) -> dict[str, object]:
        """The object that ``compat-sdk profile --json`` lists."""
        return {
            "name": self.name,
            "size": self.size,
            "mmacs": self.mmacs,
            "mmacs_paper": self.mmacs_paper,
            "params_m": self.params_m,
            "engine": self.engine,
            "precision": self.precision,
            "threads": self.threads,
            "latency_ms": {"p50": self.warm.p50_ms, "p95": self.warm.p95_ms, "cold": self.cold.total_ms},
            "cold_ms": {"load": self.cold.load_ms, "first": self.cold.first_ms},
            "runs": self.warm.runs,
            "peak_mib": self.cold.peak_mib,
            "baseline_mib": self.cold.baseline_mib,
            "peak_note": self.cold.note,
            "bundle_mib": self.bundle_mib,
            "graph_mib": self.graph_mib,
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
    while len(times) < min(runs, _ENOUGH_RUNS) or (len(times) < runs and sum(times) < budget_s * 1e9):
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
    precision: str | None = None,
    name: str | None = None,
    runs: int = 100,
    cold_starts: int = 3,
    public_key: str | Path | None = None,
    trust: str | Path | Trust | None = None,
) -> Profile:
    """Profile a bundle on its first golden image.

    Args:
        path: The bundle.
        engine: ``"auto"`` or the name of an inference engine.
        threads: Threads for the engine, at least 1.
        precision: Of the graph; None takes the engine's first listed one.
        name: What to call it; the bundle's own name if not given.
        runs: Warm calls measured; fewer when they take longer than 10 s.
        cold_starts: Fresh processes started; medians are reported.
        public_key: Require this maker's signature, see `compat_sdk.bundle.Bundle.open`.
        trust: Require the signature of a maker that this trust file, or what was read from one, names.

    Returns:
        Operations as the bundle records them, and what was measured on this machine.

    Raises:
        BundleError: The bundle is damaged.
        ConfigError: A setting is out of range, or the bundle is a transform.
        MissingExtraError: The engine is not installed.
    """
    if threads < 1 or cold_starts < 1:
        raise ConfigError(f"found threads={threads}, cold_starts={cold_starts}; expected at least 1 of each")
    bundle = Bundle.open(path, public_key, trust=trust)
    manifest = bundle.manifest
    if manifest.preprocessing is None:
        raise ConfigError(
            f"{path} is a transform of embeddings; expected a model of images. `compat-sdk export` measures a "
            f"transform on one vector, `compat-sdk upgrade plan` on the gallery that it is for"
        )
    graph = choose_graph(bundle, engine, precision)
    # Core ML chooses its own threads.
    given = None if graph.target == "coreml" else threads
    embedder = Embedder.load(bundle, engine=engine, threads=given, precision=precision)
    image = bundle.golden()[0][:1]
    warm = measure_latency(lambda: embedder.embed_pixels(image), runs=runs)
    cold = measure_cold_start(
        path, engine=engine, threads=given, precision=precision, starts=cold_starts, digest=bundle.digest
    )
    return Profile(
        name=manifest.name if name is None else name,
        size=manifest.preprocessing.size,
        mmacs=manifest.mmacs,
        mmacs_paper=manifest.mmacs_paper,
        params_m=manifest.params_m,
        engine=embedder.engine.name,
        precision=graph.precision,
        threads=threads,
        warm=warm,
        cold=cold,
        bundle_mib=sum(file.bytes for file in manifest.files.values()) / 2**20,
        graph_mib=sum(file.bytes for name, file in manifest.files.items() if graph.is_made_of(name)) / 2**20,
    )


def format_table(profiles: Sequence[Profile]) -> str:
    """The profiles as an aligned plain-text table, one row each, with a heading and units."""
    titles = ("model", "size", "MMAC", "paper", "params M", "graph MiB", "engine", "precision")
    rows: list[tuple[str, ...]] = [(*titles, "p50 ms", "p95 ms", "cold ms", "peak MiB")]
    for p in profiles:
        peak = "-" if p.cold.peak_mib is None else f"{p.cold.peak_mib:.0f}"
        operations = (f"{p.mmacs:.1f}", f"{p.mmacs_paper:.1f}", f"{p.params_m:.2f}", f"{p.graph_mib:.2f}")
        times = (f"{p.warm.p50_ms:.2f}", f"{p.warm.p95_ms:.2f}", f"{p.cold.total_ms:.0f}")
        cells = (p.name, str(p.size), *operations, p.engine, p.precision, *times, peak)
        rows.append(tuple(map(escaped, cells)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text_columns = (0, 6, 7)
    lines = [
        "  ".join(
            cell.ljust(width) if i in text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
