"""What the runtime adds to hand-written onnxruntime and the bare index, on the same work.

    python benchmarks/runtime_overhead.py --out runtime_overhead.json          (--bundle DIR for a model of yours)

A: ``Embedder.embed`` on uint8 arrays, then ``Gallery.search`` (exact). B: numpy normalisation,
``InferenceSession.run``, then the same exact index, with nothing checked in between. Both get one thread.
A and B alternate within a round and swap places between rounds; the ratio is the median over rounds of A / B, once by
the clock and once in processor time, which a busy machine disturbs less.
Goal: at most 1.05.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from compat_sdk.bundle import Bundle
from compat_sdk.embedder import Embedder
from compat_sdk.gallery import Gallery
from compat_sdk.index import ExactIndex
from compat_sdk.space import Embeddings


def main() -> None:
    """Parse the command line, measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="model to run; default: an untrained --arch")
    parser.add_argument("--arch", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--gallery", type=int, default=20_000, help="vectors in the gallery")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="images per call")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--out", type=Path, help="where the JSON goes, beside standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.bundle or untrained_bundle(options.arch, options.size, Path(folder) / "bundle")
        figures = measure(path, Path(folder), options)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def untrained_bundle(arch: str, size: int, out: Path) -> Path:
    """A bundle of an untrained architecture; weights do not change what it costs."""
    from compat_export import export
    from compat_export.profile_model import untrained_checkpoint

    return export(untrained_checkpoint(arch, size=size), out).bundle.path


def measure(path: Path, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Both sides at every batch size."""
    rng = np.random.default_rng(0)
    bundle = Bundle.open(path)
    preprocessing = bundle.manifest.preprocessing
    vectors = rng.standard_normal((options.gallery, bundle.manifest.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    embedder = Embedder.load(bundle, threads=1)
    gallery = Gallery.create(folder / "gallery", space=embedder.space, dim=embedder.dim)
    gallery.add(Embeddings(vectors, space=embedder.space), [str(i) for i in range(len(vectors))])

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    graph = bundle.read(bundle.manifest.graphs[0].file)
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    index = ExactIndex(vectors)
    mean, std = (np.array(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    factor, shift = 1 / (255 * std), -mean / std

    def ours(images: np.ndarray) -> list[list[str]]:
        hits = gallery.search(embedder.embed(images), 10, index="exact")
        return [[hit.id for hit in row] for row in hits]

    def by_hand(images: np.ndarray) -> list[list[str]]:
        inputs = np.ascontiguousarray((images * factor + shift).transpose(0, 3, 1, 2))
        (embeddings,) = session.run(None, {"image": inputs})
        rows, _ = index.search(embeddings, 10)
        return [[str(row) for row in line] for line in rows]

    results = []
    for batch in options.batches:
        images = rng.integers(0, 256, (batch, preprocessing.size, preprocessing.size, 3), dtype=np.uint8)
        if ours(images) != by_hand(images):
            raise SystemExit("the two sides found different hits: they do not do the same work")
        wall, cpu = alternate(lambda: ours(images), lambda: by_hand(images), options.rounds)  # noqa: B023
        results.append(
            {
                "images_per_call": batch,
                "runtime_ms": float(np.median(wall[:, 0])),
                "by_hand_ms": float(np.median(wall[:, 1])),
                "ratio": float(np.median(wall[:, 0] / wall[:, 1])),
                "ratio_quartiles": [float(q) for q in np.percentile(wall[:, 0] / wall[:, 1], (25, 75))],
                "cpu_ratio": float(np.median(cpu[:, 0] / cpu[:, 1])),
                "cpu_ms": [float(ms) for ms in np.median(cpu, axis=0)],
            }
        )
    return {
        "benchmark": "runtime_overhead",
        "model": bundle.manifest.name,
        "size": preprocessing.size,
        "gallery": options.gallery,
        "dim": bundle.manifest.dim,
        "threads": 1,
        "rounds": options.rounds,
        "results": results,
        "goal": "ratio at most 1.05",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def alternate(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds by the clock and of processor time, each ``[rounds, 2]``; the order swaps between rounds."""
    wall, cpu = np.zeros((rounds, 2)), np.zeros((rounds, 2))
    calls = (first, second)
    for call in calls * 3:
        call()
    for r in range(rounds):
        for side in (0, 1) if r % 2 == 0 else (1, 0):
            start, cpu_start = time.perf_counter_ns(), time.process_time_ns()
            calls[side]()
            cpu[r, side] = (time.process_time_ns() - cpu_start) / 1e6
            wall[r, side] = (time.perf_counter_ns() - start) / 1e6
    return wall, cpu


if __name__ == "__main__":
    main()
