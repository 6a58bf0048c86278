"""Exact search against its limits: the peak rate of the matrix product, and the read bandwidth.

    python -m benchmarks.speed.exact_search [--rows 200000] [--dim 128] [--queries 1000] [-k 10] [--rounds 9]

Batch search is bound by the product: ratio = (2 x rows x dim x queries / time) / (rate of a 2048^3 product).
One query is bound by memory: ratio = (bytes of the gallery / time) / (rate of numpy's maximum over the same
bytes). Limit and subject alternate in one process on one thread, and the medians are compared. ``--clock cpu``
counts the process's own time, which is fairer on a machine that others use as well. A line goes to stderr, JSON
to stdout. One query is also asked of two threads, and of faiss where it is installed; their answers are compared.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from compat_sdk.index import ExactIndex

PRODUCT = 2048


def clustered_vectors(rng: np.random.Generator, n: int, basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``[n, dim]`` unit vectors near a subspace, as embeddings of images are."""
    vectors = rng.standard_normal((n, len(basis)), dtype=np.float32) @ basis
    vectors += 0.1 * rng.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def others(gallery: NDArray[np.float32]) -> dict[str, ExactIndex]:
    """What else may score every row, with the same answer to the bit."""
    found = {"single_two_threads": ExactIndex(gallery, threads=2)}
    if find_spec("faiss") is not None:
        found["single_faiss"] = ExactIndex(gallery, product="faiss")
    return found


def main() -> None:
    """Measure, print a line and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time

    rng = np.random.default_rng(0)
    basis = rng.standard_normal((24, options.dim), dtype=np.float32)
    gallery = clustered_vectors(rng, options.rows, basis)
    queries = clustered_vectors(rng, options.queries, basis)
    index = ExactIndex(gallery)
    left, right = (rng.standard_normal((PRODUCT, PRODUCT), dtype=np.float32) for _ in range(2))
    out = np.empty_like(left)

    def seconds(call: Callable[[], object]) -> float:
        start = clock()
        call()
        return clock() - start

    subjects: dict[str, Callable[[], object]] = {
        "product": lambda: np.matmul(left, right, out=out),
        "batch": lambda: index.search(queries, options.k),
        "read": lambda: gallery.max(),
        "single": lambda: index.search(queries[:1], options.k),
    }
    for name, other in others(gallery).items():
        for found, wanted in zip(
            other.search(queries[:9], options.k), index.search(queries[:9], options.k), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
        subjects[name] = partial(other.search, queries[:1], options.k)
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for round_number in range(options.rounds + 1):
        for name, call in subjects.items():
            taken = seconds(call)
            if round_number:  # the first round only warms up
                times[name].append(taken)
    median = {name: statistics.median(values) for name, values in times.items()}

    peak = 2 * PRODUCT**3 / median["product"] / 1e9
    batch = 2 * options.rows * options.dim * options.queries / median["batch"] / 1e9
    read, single = (gallery.nbytes / median[name] / 1e9 for name in ("read", "single"))
    result = {
        "machine": machine(),
        "clock": options.clock,
        "rows": options.rows,
        "dim": options.dim,
        "queries": options.queries,
        "k": options.k,
        "rounds": options.rounds,
        "gemm_peak_gflops": round(peak, 1),
        "batch_gflops": round(batch, 1),
        "batch_queries_per_second": round(options.queries / median["batch"], 1),
        "batch_ratio": round(batch / peak, 3),
        "read_gb_per_second": round(read, 1),
        "single_gb_per_second": round(single, 1),
        "single_latency_ms": round(median["single"] * 1e3, 2),
        "single_ratio": round(single / read, 3),
        **{f"{name}_ratio": round(median["read"] / median[name], 3) for name in subjects if name.startswith("single_")},
    }
    print(
        f"{machine()}: batch {batch:.1f} of {peak:.1f} GFLOP/s = {batch / peak:.2f}; one query "
        f"{single:.1f} of {read:.1f} GB/s = {single / read:.2f}; "
        + "; ".join(f"{name} {median['read'] / median[name]:.2f}" for name in subjects if name.startswith("single_")),
        file=sys.stderr,
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
