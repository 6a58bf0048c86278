"""The exact search of the runtime in Java beside that of the one in Python: the same galleries, queries and k = 10.

    make jvm
    python -m benchmarks.speed.jvm_search [--rows 10000 100000 1000000] [--dim 128] [--rounds 15] [--clock cpu]

Both open one gallery in each type. They search in turns, one query at a time, each on one thread, or on as many as
OPENBLAS_NUM_THREADS says. Reported are the medians of the rounds and their ratio, after a warm-up: Java compiles what
runs often. Both find the same first hit each time, or the script stops. ``open_ms`` is from nothing to the first hit.
Java reads and checks every byte, and keeps the rows as they are stored. Python maps them, and decodes float16 and int8
into float32 for its first search, which is part of it. ``--clock cpu`` counts what the one searching thread computes,
which is fairer on a machine that others use as well. JSON goes to stdout.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings

_SPACE = "bench-128-0123456789abcdef"
_ROOT = Path(__file__).parents[2]
_JAR = _ROOT / "build" / "jvm" / "compat-sdk.jar"
_THREADS = int(os.environ["OPENBLAS_NUM_THREADS"])
_WARM_UP = 25
_ROWS_AT_ONCE = 100_000


def _written(folder: Path, rows: int, dim: int, dtype: Any) -> None:
    rng = np.random.default_rng(rows)
    gallery = Gallery.create(folder, space=_SPACE, dim=dim, dtype=dtype)
    for start in range(0, rows, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, rows - start)
        gallery.add(_unit(rng, count, dim), [str(row) for row in range(start, start + count)])


def _unit(rng: np.random.Generator, rows: int, dim: int) -> Embeddings:
    vectors = rng.standard_normal((rows, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, _SPACE)


def _measured(place: Path, rows: int, dtype: str, options: argparse.Namespace) -> dict[str, object]:
    dim, rounds = options.dim, options.rounds
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    folder = place / f"{rows}-{dtype}"
    _written(folder, rows, dim, dtype)
    queries = _unit(np.random.default_rng(1), 64, dim).vectors
    np.save(place / "queries.npy", queries)
    # The calling thread is one of those that search.
    parallel = f"-Djava.util.concurrent.ForkJoinPool.common.parallelism={_THREADS - 1}"
    command = ["java", parallel, "-cp", f"{_JAR}:{place}", "compatsdk.JvmSearch"]
    command += [str(folder), str(place / "queries.npy"), options.clock]
    times: dict[str, list[float]] = {"python": [], "java": []}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as java:
        assert java.stdin is not None and java.stdout is not None
        opened = {"java": float(java.stdout.readline())}
        start = clock()
        gallery = Gallery.open(folder)
        gallery.search(Embeddings(queries[:1], _SPACE), 10, index="exact")
        opened["python"] = (clock() - start) * 1e3
        for number in range(_WARM_UP + rounds):
            asked = Embeddings(queries[number % len(queries)][None], _SPACE)
            start = clock()
            hits = gallery.search(asked, 10, index="exact")[0]
            taken = (clock() - start) * 1e3
            java.stdin.write(f"{number % len(queries)}\n")
            java.stdin.flush()
            milliseconds, found = java.stdout.readline().split()
            if found != hits[0].id:
                raise SystemExit(f"error: Java found {found} first, Python {hits[0].id}")
            if number >= _WARM_UP:
                times["python"].append(taken)
                times["java"].append(float(milliseconds))
        java.stdin.close()
    median = {name: statistics.median(values) for name, values in times.items()}
    result: dict[str, object] = {
        "rows": rows,
        "dtype": dtype,
        "java_ms": round(median["java"], 2),
        "python_ms": round(median["python"], 2),
        "ratio": round(median["java"] / median["python"], 2),
        "open_ms": {name: round(value) for name, value in opened.items()},
    }
    print(json.dumps(result), file=sys.stderr)
    return result


def main() -> None:
    """Measure every size and type, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    if options.clock == "cpu" and _THREADS != 1:
        raise SystemExit("error: --clock cpu counts one thread; leave OPENBLAS_NUM_THREADS out")
    if not _JAR.is_file():
        raise SystemExit(f"error: there is no {_JAR.relative_to(_ROOT)}; run: make jvm")
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        source = Path(__file__).with_name("JvmSearch.java")
        subprocess.run(["javac", "-cp", str(_JAR), "-d", str(place), str(source)], check=True)
        for rows in options.rows:
            for dtype in ("float32", "float16", "int8"):
                found.append(_measured(place, rows, dtype, options))
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr.splitlines()[0]
    told = {
        "machine": machine(),
        "java": java,
        "dim": options.dim,
        "k": 10,
        "threads": _THREADS,
        "clock": options.clock,
    }
    print(json.dumps(told | {"rounds": options.rounds, "searches": found}, indent=2))


if __name__ == "__main__":
    main()
