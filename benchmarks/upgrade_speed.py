"""Upgrades against their limits: the peak rate of the matrix product, the disk, and a memory that does not grow.

    python benchmarks/upgrade_speed.py [--bundle H] [--clock cpu] [--parts product disk memory]
    python benchmarks/upgrade_speed.py --parts memory --memory-rows 100000 1000000 10000000       # 20 GB of disk

*Product.* FCT's transform at the paper's widths (128 + 128 -> 2048 -> 2048 -> 128), exported to ONNX with random
weights, or the bundle that is named: ratio = (2 x multiply-adds x rows / time) / (rate of a 2048^3 product, the faster
of numpy's and torch's), for `Transform.apply` on blocks of 4,096 rows, and for the whole of `upgrade.run`, which reads,
digests, normalises, writes and syncs besides. One worker, one thread; limit and subjects alternate in one process, and
medians are compared. Goal: 0.8. The bf16 peak is measured too; no engine that the runtime knows computes in bf16 on
this kind of processor, so there is no bf16 subject.

*Disk.* The same run with a transform that costs next to nothing (one small product): bytes written per second against
a plain write of as many bytes with one sync.

*Memory.* That cheap run with two workers in a process of its own at several sizes, and the cutover after it: peak
resident memory of the process that steers and of the workers, which must not grow. A worker maps one shard of its
inputs at a time: shards of 32,768 rows here, so that the smallest size has several.

The projected time for a billion rows is that of one worker at the measured rate of the whole run. A line goes to
stderr, JSON to results/upgrade_speed.json, where parts that were not asked for stay, and to stdout.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from exact_search import machine
from numpy.typing import NDArray

from compat_sdk import upgrade
from compat_sdk.files import write_json_atomic
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import write_segment
from compat_sdk.gallery.store import read_state, write_state
from compat_sdk.upgrade import BundleTransform

HERE = Path(__file__).parent
PARTS = ("product", "disk", "memory")
PRODUCT = 2048
BLOCK = 4096
DIM = 128
CHUNK = 1 << 16
OLD, SIDE, NEW = "old-128-benchmark", "side-128-benchmark", "new-128-benchmark"


@dataclass(frozen=True)
class Cheap:
    """A transform of one small product, and its own opener."""

    old_space: str = OLD
    old_dim: int = DIM
    side_space: str = SIDE
    side_dim: int = DIM
    space: str = NEW
    dim: int = DIM
    name: str = "cheap"
    peaks: str | None = None  # folder where every process tells its peak memory

    @property
    def identity(self) -> Mapping[str, str]:
        """One transform, one identity."""
        return {"name": self.name}

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """``[dim, dim]``."""
        return np.random.default_rng(0).standard_normal((DIM, DIM), dtype=np.float32)

    def __call__(self) -> Cheap:
        """Open it."""
        return self

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return unit rows."""
        assert side is not None
        if self.peaks is not None:
            Path(self.peaks, str(os.getpid())).write_text(str(peak_mib()))
        return unit((old + side) @ self.weights)


def peak_mib() -> float:
    """Return this process's peak resident memory; not that of the process that started it, as getrusage may."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every row to length 1, in place."""
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def random_rows(rows: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Return ``[rows, dim]`` random unit rows."""
    return unit(np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32))


def make_gallery(path: Path, space: str, dim: int, rows: int, seed: int) -> None:
    """Store random rows, the same ones again after CHUNK; as one segment, written without ever holding them all."""
    gallery = Gallery.create(path, space=space, dim=dim)
    chunk = random_rows(min(CHUNK, rows), dim, seed)
    starts = range(0, rows, CHUNK)
    blocks = (chunk[: rows - start] for start in starts)
    ids = (list(map(str, range(start, min(start + CHUNK, rows)))) for start in starts)
    segment = write_segment(gallery.path, 1, blocks, (rows, dim), ((names, [""] * len(names)) for names in ids))
    write_state(gallery.path, replace(read_state(gallery.path), generation=1, content=1, segments=(segment,)))


def make_bundle(path: Path) -> Path:
    """Export FCT's transform at the paper's widths with random weights."""
    import torch

    from compat_export import export
    from compat_train.models.transform import ForwardTransform
    from compat_train.runs.transform_run import TransformRun

    torch.manual_seed(0)
    run = TransformRun(
        path=path / "run",
        method="fct",
        kind="forward-transform",
        old_space=OLD,
        old_dim=DIM,
        side_space=SIDE,
        side_dim=DIM,
        space=NEW,
        dim=DIM,
        hidden=2048,
        license="Apache-2.0",
        config={},
        state=ForwardTransform(DIM, DIM, DIM, 2048).state_dict(),
    )
    export(run, path / "h")
    return path / "h"


def products() -> dict[str, Callable[[], object]]:
    """The peaks: a large product by numpy and, if it is there, by torch in fp32 and bf16."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((PRODUCT, PRODUCT), dtype=np.float32) for _ in range(2))
    out = np.empty_like(left)
    found: dict[str, Callable[[], object]] = {"numpy fp32": lambda: np.matmul(left, right, out=out)}
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(1)
    for name, dtype in (("torch fp32", torch.float32), ("torch bf16", torch.bfloat16)):
        a, b = torch.from_numpy(left).to(dtype), torch.from_numpy(right).to(dtype)
        found[name] = lambda a=a, b=b: torch.mm(a, b)
    return found


def speed(folder: Path, bundle: Path, rows: int, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Measure the transform and the whole run against the product."""
    opener = BundleTransform.at(bundle)
    transform = opener()
    macs = transform.bundle.manifest.mmacs * 1e6  # type: ignore[attr-defined]
    make_gallery(folder / "gallery", transform.old_space, transform.old_dim, rows, 1)
    side = None
    if transform.side_space is not None and transform.side_dim is not None:
        make_gallery(folder / "side", transform.side_space, transform.side_dim, rows, 2)
        side = folder / "side"
    old = random_rows(BLOCK, transform.old_dim, 3)
    beside = None if transform.side_dim is None else random_rows(BLOCK, transform.side_dim, 4)

    def whole_run() -> None:
        upgrade.run(folder / "gallery", opener, side=side, workers=1)

    peaks = products()
    subjects = {**peaks, "apply": lambda: transform.apply(old, beside), "run": whole_run}
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(rounds + 1):
        for name, call in subjects.items():
            shutil.rmtree(folder / "gallery" / "upgrade", ignore_errors=True)
            start = clock()
            call()
            if turn:  # the first round only warms up
                times[name].append(clock() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    rates = {name: 2 * PRODUCT**3 / median[name] / 1e9 for name in peaks}
    peak = max(rate for name, rate in rates.items() if "fp32" in name)
    flops = {"apply": 2 * macs * BLOCK / median["apply"] / 1e9, "run": 2 * macs * rows / median["run"] / 1e9}
    per_second = rows / median["run"]
    return {
        "engine": type(transform.engine).__name__,  # type: ignore[attr-defined]
        "mmacs_per_row": round(macs / 1e6, 3),
        "rows": rows,
        "peak_gflops": {name: round(rate, 1) for name, rate in rates.items()},
        "apply_rows_per_second": round(BLOCK / median["apply"], 1),
        "apply_gflops": round(flops["apply"], 1),
        "apply_ratio": round(flops["apply"] / peak, 3),
        "run_rows_per_second": round(per_second, 1),
        "run_gflops": round(flops["run"], 1),
        "run_ratio": round(flops["run"] / peak, 3),
        "bf16_ratio": None,
        "billion_rows_days_one_worker": round(1e9 / per_second / 86400, 2),
    }


def disk(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Measure a run that is bound by nothing but its input and output."""
    make_gallery(folder / "gallery", OLD, DIM, rows, 1)
    make_gallery(folder / "side", SIDE, DIM, rows, 2)
    size = rows * DIM * 4
    data = random_rows(rows, DIM, 5).tobytes()

    def plain() -> None:
        with (folder / "plain").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def whole_run() -> None:
        upgrade.run(folder / "gallery", Cheap(), side=folder / "side", workers=1)

    times: dict[str, list[float]] = {"plain": [], "run": []}
    for _ in range(rounds):
        for name, call in (("plain", plain), ("run", whole_run)):
            shutil.rmtree(folder / "gallery" / "upgrade", ignore_errors=True)
            (folder / "plain").unlink(missing_ok=True)
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    rates = {name: size / statistics.median(values) / 1e6 for name, values in times.items()}
    return {
        "rows": rows,
        "disk_mb_per_second": round(rates["plain"], 1),
        "run_mb_per_second": round(rates["run"], 1),
        "run_rows_per_second": round(rows / statistics.median(times["run"]), 1),
        "ratio": round(rates["run"] / rates["plain"], 3),
    }


def memory(folder: Path, rows: int) -> dict[str, Any]:
    """Run in a process of its own with two workers, and return the peaks that it tells."""
    make_gallery(folder / "gallery", OLD, DIM, rows, 1)
    make_gallery(folder / "side", SIDE, DIM, rows, 2)
    words = [sys.executable, __file__, "--steer", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return {"rows": rows, **json.loads(done.stdout)}


def steer(folder: Path) -> None:
    """The process whose memory is measured."""
    peaks = folder / "peaks"
    peaks.mkdir()
    opener = Cheap(peaks=str(peaks))
    found = upgrade.run(folder / "gallery", opener, side=folder / "side", workers=2, shard_rows=1 << 15)
    after_run = peak_mib()
    upgrade.cutover(folder / "gallery")
    workers = [float(path.read_text()) for path in peaks.iterdir()]
    facts = {
        "steering_peak_mib": round(after_run, 1),
        "steering_peak_mib_with_cutover": round(peak_mib(), 1),
        "worker_peak_mib": round(max(workers), 1),
        "workers": len(workers),
        "rows_per_second_two_workers": round(found.rows / found.seconds, 1),
    }
    print(json.dumps(facts))


def main() -> None:
    """Measure, print a line and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a transform's bundle, in place of FCT's with random weights")
    parser.add_argument("--rows", type=int, default=16_384, help="rows of the run against the product")
    parser.add_argument("--disk-rows", type=int, default=400_000)
    parser.add_argument("--memory-rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="of the product part")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if not given")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "upgrade_speed.json")
    parser.add_argument("--steer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steer is not None:
        steer(options.steer)
        return
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    result |= {"machine": machine()}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        if "product" in options.parts:
            (root / "bundle").mkdir()
            bundle = options.bundle or make_bundle(root / "bundle")
            product = speed(root / "speed", bundle, options.rows, options.rounds, clock)
            result["product"] = {"clock": options.clock, "rounds": options.rounds} | product
            shutil.rmtree(root / "speed")
            print(
                f"transform {product['apply_ratio']:.2f} of the peak, run {product['run_ratio']:.2f}", file=sys.stderr
            )
        if "disk" in options.parts:
            result["disk"] = {"rounds": options.rounds} | disk(root / "disk", options.disk_rows, options.rounds)
            shutil.rmtree(root / "disk")
            print(f"cheap run {result['disk']['ratio']:.2f} of the disk", file=sys.stderr)
        if "memory" in options.parts:
            result["memory"] = []
            for rows in options.memory_rows:
                result["memory"].append(memory(root / "memory", rows))
                shutil.rmtree(root / "memory")
                print(f"workers {result['memory'][-1]['worker_peak_mib']:.0f} MiB at {rows} rows", file=sys.stderr)
    write_json_atomic(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
