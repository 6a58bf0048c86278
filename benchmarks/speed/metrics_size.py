"""Do the metrics work at the size of the papers' sets? Made features of IJB-C's and Google Landmarks v2's sizes.

    python -m benchmarks.speed.metrics_size

writes benchmarks/speed/metrics_size.json and prints its rows. The features are made, so the accuracies mean nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.files.documents import write_json_atomic
from compat_sdk.metrics import (
    average_precision_at,
    best_scores,
    pair_scores,
    pool_templates,
    score_listed,
    tar_at_far,
    tpir_at_fpir,
)

RESULT = Path(__file__).with_suffix(".json")
_DIM = 128
_IMAGES, _TEMPLATES, _PAIRS = 469_375, 23_124, 15_658_489  # IJB-C
_PROBES, _GALLERIES = 19_593, (1_772, 1_759)  # IJB-C, 1:N
_QUERIES, _INDEX = 750, 761_757  # Google Landmarks v2


def main() -> None:
    """Run every metric once and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=float, default=1.0, help="part of the sizes, for a trial")
    part = parser.parse_args().part
    random = np.random.default_rng(0)

    def sized(count: int) -> int:
        return max(20, int(part * count))

    rows = []

    def measured(name: str, size: str, run: Callable[[], object]) -> object:
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        found = run()
        rows.append(
            {
                "metric": name,
                "size": size,
                "seconds": round(time.perf_counter() - start, 1),
                "peak_mib_more": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        return found

    images, templates = sized(_IMAGES), sized(_TEMPLATES)
    features = random.standard_normal((images, _DIM), np.float32)
    template = np.concatenate([np.arange(templates), random.integers(0, templates, images - templates)])
    media = random.integers(0, 5, images)
    pooled = measured(
        "template pooling", f"{images} images into {templates}", lambda: pool_templates(features, template, media)[1]
    )
    assert isinstance(pooled, np.ndarray)
    pairs = random.integers(0, templates, (sized(_PAIRS), 2))
    same = random.random(len(pairs)) < 0.00125
    scores = measured("pair scores", f"{len(pairs)} pairs", lambda: pair_scores(pooled, pooled, pairs))
    measured("TAR at FAR", f"{len(pairs)} pairs", lambda: tar_at_far(np.asarray(scores), same, [1e-6, 1e-5, 1e-4]))
    probes, names = _unit(random, sized(_PROBES)), [str(n) for n in random.integers(0, 3531, sized(_PROBES))]

    def identification() -> float:
        first, found = 0, []
        for count in map(sized, _GALLERIES):
            labels = [str(number) for number in range(first, first + count)]
            found.append(best_scores(probes, names, _unit(random, count), labels))
            first += count
        return tpir_at_fpir(found, 0.1)

    measured("TPIR at FPIR", f"{len(probes)} probes, {sum(map(sized, _GALLERIES))} templates", identification)
    queries, index = _unit(random, sized(_QUERIES)), _unit(random, sized(_INDEX))
    right = [random.permutation(len(index))[: random.integers(1, 40)] for _ in queries]
    measured(
        "mAP@100",
        f"{len(queries)} queries in {len(index)}",
        lambda: score_listed(queries, index, right, precision=partial(average_precision_at, cut_off=100)),
    )
    machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    write_json_atomic(RESULT, {"part": part, "dim": _DIM, "machine": machine, "rows": rows})


def _unit(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    vectors = random.standard_normal((rows, _DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


if __name__ == "__main__":
    main()
