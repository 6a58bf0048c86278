"""Latency of each engine against the peak rate of the matrix product in the same run.

    python -m benchmarks.speed.engine_latency [--archs mobilenet_v2 resnet101 ...] [--rounds 25] [--size 112]
    python -m benchmarks.speed.engine_latency --report      # the table from the rows

Networks with fresh weights, which change nothing in what they cost, are exported to ONNX, LiteRT and ExecuTorch in fp32
and in the other precisions that each has. One image a call, one thread. In each round every graph is called once and a
1024^3 product is timed once, in turn, so that all meet the same machine. The share of the peak is
(2 x multiply-accumulates / median time) / (2 x 1024^3 / median time of the product), in fp32 whatever the graph's
precision. Rows go to engine_latency.json, the table to engine_latency.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.pages import table, write_page
from benchmarks.rows import Row
from compat_export import Options, export
from compat_export.profile_model import untrained_checkpoint
from compat_sdk.bundle import Bundle
from compat_sdk.embedder import graph_input
from compat_sdk.engines import engines_here, open_graph
from compat_sdk.files.documents import write_json_atomic
from compat_train.models.search_space import space_named
from compat_train.nas.cmp.cost import cost_table
from compat_train.nas.cmp.sampling import MemberSampler

HERE = Path(__file__).parent
PRODUCT = 1024
TIERS = (100, 230, 330)
PRECISIONS = {"onnx": ("fp32", "int8"), "tflite": ("fp32", "fp16", "int8"), "executorch": ("fp32",)}


def members(size: int) -> dict[str, str]:
    """A random member just under each tier of the CMP-NAS space, by a short name."""
    sampler = MemberSampler(cost_table(space_named("shuffle,last=512"), size=size))
    generator = np.random.default_rng(0)
    return {f"cmp, {tier} MMACs": sampler.draw(generator, 0.97 * tier, tier).name for tier in TIERS}


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(label: str, arch: str, size: int, rounds: int, folder: Path) -> list[Row]:
    """Rows of one network: every target and precision whose engine is installed."""
    checkpoint = untrained_checkpoint(arch, size=size)
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for target, engine in engines_here().items():
        bundle: Bundle = export(
            checkpoint,
            folder / f"{label.replace(' ', '').replace(',', '-')}-{target}",
            targets=[target],
            precisions=[Options(precision=precision) for precision in PRECISIONS[target]],  # type: ignore[arg-type]
            min_cosine=0.0,  # fresh weights: what is compared here is time
        ).bundle
        preprocessing = bundle.manifest.preprocessing
        assert preprocessing is not None  # a model of images
        for graph in bundle.manifest.graphs:
            opened = open_graph(bundle, graph, threads=1)
            images = graph_input(bundle.golden()[0][:1], preprocessing, graph)
            calls[engine, graph.precision] = lambda opened=opened, images=images: opened.run(images)  # type: ignore[misc]
    left, right = (np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT), dtype=np.float32) for _ in range(2))
    out = np.empty_like(left)
    calls["product", "fp32"] = lambda: np.matmul(left, right, out=out)
    times: dict[tuple[str, str], list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            spent = seconds(call)
            if number >= 3:
                times[name].append(spent)
    peak = 2 * PRODUCT**3 / float(np.median(times["product", "fp32"]))
    mmacs = bundle.manifest.mmacs
    return [
        {
            "network": label,
            "mmacs": mmacs,
            "engine": engine,
            "precision": precision,
            "p50_ms": 1000 * float(np.median(found)),
            "p95_ms": 1000 * float(np.percentile(found, 95)),
            "share": 2e6 * mmacs / float(np.median(found)) / peak,
            "gemm_gflops": peak / 1e9,
        }
        for (engine, precision), found in times.items()
        if engine != "product"
    ]


def write_report(results: Row, page: Path) -> None:
    """Writes the latency of every network by every engine below the mark of a page, and prints it."""
    rows = results["rows"]
    engines = list(dict.fromkeys((row["engine"], row["precision"]) for row in rows))
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        found = {(row["engine"], row["precision"]): row for row in rows if row["network"] == network}
        cells = [f"{row['p50_ms']:.1f} ms, {row['share']:.2f}" for row in (found[engine] for engine in engines)]
        lines.append([network, f"{next(iter(found.values()))['mmacs']:.0f}", *cells])
    header = ["network", "MMACs", *(f"{engine} {precision}" for engine, precision in engines)]
    note = f"{results['machine']}; images of {results['size']} px."
    write_page(page, "benchmarks.speed.engine_latency", [table("Latency by engine", header, lines, note)])


def run_all(options: argparse.Namespace) -> None:
    """Measures every network; all of them anew, as rows of one run meet the same machine."""
    networks = {name: name for name in options.archs} | members(options.size)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="compat-sdk-") as folder:
        for label, arch in networks.items():
            rows += measure(label, arch, options.size, options.rounds, Path(folder))
            write_json_atomic(options.out, {"machine": machine(), "size": options.size, "rows": rows})
            print(json.dumps(rows[-1]), flush=True)


def main() -> None:
    """Measure, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--archs", nargs="*", default=["mobilenet_v2", "mobilenet_v3", "shufflenet_v2", "resnet18", "resnet101"]
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--out", type=Path, default=HERE / "engine_latency.json")
    parser.add_argument("--report", action="store_true", help="only write the table from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text()), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
