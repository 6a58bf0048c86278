"""Upgrades against their limits: the peak rate of the matrix product, the disk, and a memory that does not grow.

    python -m benchmarks.speed.upgrade_speed [--bundle H] [--clock cpu] [--parts product disk memory]
    python -m benchmarks.speed.upgrade_speed --parts memory --memory-rows 100000 1000000 10000000       # 20 GB of disk

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
stderr, JSON to upgrade_speed.json, where parts that were not asked for stay, and to stdout.
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
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.speed.upgrade_galleries import DIM, OLD, SIDE, SPACES, Cheap, make_gallery, random_rows
from benchmarks.speed.upgrade_memory import memory
from compat_sdk import upgrade
from compat_sdk.files.documents import write_json_atomic
from compat_sdk.upgrade import BundleTransform

HERE = Path(__file__).parent
PARTS = ("product", "disk", "memory")
PRODUCT = 2048
BLOCK = 4096


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
        spaces=SPACES,
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
        found[name] = partial(torch.mm, a, b)
    return found


def speed(folder: Path, bundle: Path, rows: int, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Measure the transform and the whole run against the product."""
    opener = BundleTransform.at(bundle)
    transform = opener()
    macs = transform.bundle.manifest.mmacs * 1e6  # type: ignore[attr-defined]
    make_gallery(folder / "gallery", transform.spaces.old_space, transform.spaces.old_dim, rows, 1)
    side = None
    if transform.spaces.side_space is not None and transform.spaces.side_dim is not None:
        make_gallery(folder / "side", transform.spaces.side_space, transform.spaces.side_dim, rows, 2)
        side = folder / "side"
    old = random_rows(BLOCK, transform.spaces.old_dim, 3)
    beside = None if transform.spaces.side_dim is None else random_rows(BLOCK, transform.spaces.side_dim, 4)

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
    parser.add_argument("--out", type=Path, default=HERE / "upgrade_speed.json")
    options = parser.parse_args()
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
