"""One query against every row: which product reads the memory fastest, beside numpy's maximum over the same bytes.

    python -m benchmarks.speed.exact_one_query [--rows 200000] [--dim 128] [--rounds 7]

The ways alternate in one process on one thread, the process's own time is counted, and medians are compared. A ratio is
the time of reading the float32 rows over that of the product: 1 is the read bandwidth, and a scan of fewer bytes may
pass it. faiss is needed. A line for each goes to stderr, JSON to stdout.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.speed.upgrade_galleries import random_rows
from compat_sdk.index import ExactIndex

K = 18
"""Candidates of a first pass for ten hits."""


def in_blocks(
    rows: NDArray[Any], size: int, product: Callable[[NDArray[Any], NDArray[np.float32]], object]
) -> Callable[[], None]:
    """A product over blocks of rows, into one array of scores."""
    scores = np.empty(len(rows), np.float32)

    def run() -> None:
        for start in range(0, len(rows), size):
            product(rows[start : start + size], scores[start : start + size])

    return run


def scanned(rows: NDArray[np.float32], query: NDArray[np.float32], kind: int, scale: float) -> Callable[[], object]:
    """A scan by faiss of a copy of fewer bytes."""
    index = faiss.IndexScalarQuantizer(rows.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:1000] * scale)
    index.add(rows * scale)
    return lambda: index.search(query * scale, K)


def ways(rows: NDArray[np.float32], query: NDArray[np.float32]) -> dict[str, Callable[[], object]]:
    """What is compared, by what it is called; the first is the limit."""
    one, half = query[0], rows.astype(np.float16)
    whole, by_faiss = ExactIndex(rows), ExactIndex(rows, product="faiss")
    quantizer = faiss.ScalarQuantizer
    return {
        "read": lambda: rows.max(),
        "numpy vecdot, blocks of 65,536": in_blocks(rows, 65536, lambda b, out: np.vecdot(b, one, out=out)),
        "numpy vecdot, blocks of 2,048": in_blocks(rows, 2048, lambda b, out: np.vecdot(b, one, out=out)),
        "numpy einsum": in_blocks(rows, 65536, lambda b, out: np.einsum("nd,d->n", b, one, out=out)),
        "numpy matmul (BLAS gemv)": in_blocks(rows, 65536, lambda b, out: np.matmul(b, one, out=out)),
        "numpy float16, widened in blocks of 2,048": in_blocks(
            half, 2048, lambda b, out: np.vecdot(b.astype(np.float32), one, out=out)
        ),
        "faiss knn": lambda: faiss.knn(query, rows, K, metric=faiss.METRIC_INNER_PRODUCT),
        "faiss float16 scan": scanned(rows, query, quantizer.QT_fp16, 1.0),
        "faiss int8 scan": scanned(rows, query, quantizer.QT_8bit_direct_signed, 100.0),
        "ExactIndex": lambda: whole.search(query, 10),
        "ExactIndex, product faiss": lambda: by_faiss.search(query, 10),
    }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows = random_rows(options.rows, options.dim, 0)
    subjects = ways(rows, random_rows(1, options.dim, 1))
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(options.rounds + 1):
        for name, call in subjects.items():
            start = time.process_time()
            call()
            if number:  # the first round only warms up
                times[name].append(time.process_time() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    found = {
        name: {"ms": round(1e3 * seconds, 2), "ratio": round(median["read"] / seconds, 2)}
        for name, seconds in median.items()
    }
    for name, line in found.items():
        print(f"{name}: {line['ms']} ms, {line['ratio']}", file=sys.stderr)
    facts = {"machine": machine(), "rows": options.rows, "dim": options.dim, "rounds": options.rounds}
    print(json.dumps({**facts, "ways": found}, indent=2))


if __name__ == "__main__":
    main()
