"""Approximate indexes for a recall that is asked for, beside the same libraries used directly.

    python -m benchmarks.speed.indexes [--rows 200000] [--dim 128] [--queries 500] [-k 10] [--rounds 7]

Of every kind and recall an index is built as `compat-sdk index approximate --recall` builds it. The queries were not
among the rows that chose its settings, so that their recall is another measurement. Then, alternating in one process on
one thread, all queries are asked of the index, of its library with the same settings, and of the exact scan: medians of
the rounds. The limit beside them is what the exact scan of the whole batch reaches, and the sgemm peak that bounds it.
A line goes to stderr as each index is done, and JSON to stdout. ``--clock cpu`` as in `benchmarks.speed.exact_search`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.speed.exact_search import PRODUCT, clustered_vectors
from compat_sdk.index import KINDS, ApproximateIndex, ExactIndex, build_measured


def direct(index: ApproximateIndex, queries: NDArray[np.float32], k: int) -> Callable[[], object] | None:
    """The same search by the library alone; None for lists, whose finds are scored again here."""
    engine: Any = index._engine
    if index.name == "usearch":
        return lambda: engine._graph.search(queries, k, threads=1)
    if index.name == "hnswlib":
        return lambda: engine._graph.knn_query(queries, k, num_threads=1)
    return (lambda: engine._numbered.search(queries, k)) if index.name == "faiss-hnsw" else None


def main() -> None:
    """Measure, print lines and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--recalls", type=float, nargs="+", default=[0.95, 0.99])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    os.environ["COMPAT_SDK_STATE"] = tempfile.mkdtemp(prefix="compat-sdk-state-")

    rng = np.random.default_rng(0)
    basis = rng.standard_normal((24, options.dim), dtype=np.float32)
    vectors = clustered_vectors(rng, options.rows, basis)
    queries = clustered_vectors(rng, options.queries, basis)
    exact = ExactIndex(vectors)
    left, right = (rng.standard_normal((PRODUCT, PRODUCT), dtype=np.float32) for _ in range(2))
    worst = exact.search(queries, options.k)[1][:, -1:] - 1e-6

    def timed(call: Callable[[], object]) -> float:
        start = clock()
        call()
        return clock() - start

    rows = []
    for kind in options.kinds:
        for wanted in options.recalls:
            start = clock()
            index, measured = build_measured(kind, vectors, wanted, threads=1)
            build = clock() - start
            content = index.to_bytes()
            start = clock()
            ApproximateIndex.load(
                kind, content, options.rows, options.dim, lambda: exact, threads=1, vouched=False, **index.options
            )
            opened = clock() - start
            ask: dict[str, Callable[[], object]] = {
                "ours": partial(index.search, queries, options.k),
                "exact": partial(exact.search, queries, options.k),
                "product": partial(np.matmul, left, right),
            }
            alone = direct(index, queries, options.k)
            if alone is not None:
                ask["direct"] = alone
            times: dict[str, list[float]] = {name: [] for name in ask}
            for number in range(options.rounds + 1):
                for name, call in ask.items():
                    taken = timed(call)
                    if number:
                        times[name].append(taken)
            median = {name: statistics.median(taken) for name, taken in times.items()}
            found = float(np.mean(index.search(queries, options.k)[1] >= worst))
            gflops = 2 * options.rows * options.dim * options.queries / median["exact"] / 1e9
            row = {
                "kind": kind,
                "wanted_recall": wanted,
                "measured_recall": round(measured.recall, 4),
                "recall_of_these_queries": round(found, 4),
                "options": index.options,
                "queries_per_second": round(options.queries / median["ours"], 1),
                "direct_queries_per_second": round(options.queries / median["direct"], 1) if alone else None,
                "exact_queries_per_second": round(options.queries / median["exact"], 1),
                "exact_share_of_gemm_peak": round(gflops / (2 * PRODUCT**3 / median["product"] / 1e9), 2),
                "build_s": round(build, 1),
                "bytes_per_vector": round(len(content) / options.rows, 1),
                "open_ms": round(opened * 1e3, 1),
            }
            rows.append(row)
            print(json.dumps(row), file=sys.stderr)
    facts = {name: getattr(options, name) for name in ("rows", "dim", "queries", "k", "rounds", "clock")}
    print(json.dumps({"machine": machine(), **facts, "indexes": rows}, indent=2))


if __name__ == "__main__":
    main()
