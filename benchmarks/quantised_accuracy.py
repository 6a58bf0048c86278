"""What weights of 8 bits do to M(q,g): every target, on the bundled sample and on kanji, against the PyTorch network.

    compat-sdk quickstart --out runs/quickstart
    python benchmarks/cmp_nas.py --root data/kanji                       # trains the networks
    python benchmarks/quantised_accuracy.py --root data/kanji [--precisions int8 int8-static fp16] [--queries 4000]

Each network is exported with `compat_export`, and its graphs embed the queries; Core ML packages are computed by
`compat_export.mil`. The change is paired (same queries, same gallery, which the gallery model embeds); its interval is
a bootstrap over queries, 2,000 draws. Rows go to results/quantised_accuracy.json; those that are there are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_export.check.compare import Probe, calibration_images, data_probe
from compat_export.convert.conversion import INPUT, Options, Port
from compat_export.convert.graphs import convert, opened
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.datasets import open_dataset
from compat_sdk.embedder import graph_input
from compat_sdk.files import write_json_atomic
from compat_sdk.images import to_input
from compat_sdk.metrics import score_queries
from compat_train.runs.checkpoint import Checkpoint

HERE = Path(__file__).parent
TARGETS = ("onnx", "tflite", "coreml")
KANJI = ("r3-0.95-1", "static-shufflenet_v2", "static-mobilenet_v2")


def pairs(options: argparse.Namespace) -> Iterator[tuple[str, Path, Path]]:
    """Dataset, query run and gallery run of everything that is measured."""
    yield "sample", options.quickstart / "query-run", options.quickstart / "gallery-run"
    for name in KANJI:
        for seed in (0, 1, 2):
            yield "kanji-500", options.runs / f"cmp/networks/{name}-{seed}", options.runs / f"kanji/gallery-{seed}"


def hits(probe: Probe, found: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 for each query whose nearest gallery row is of its identity."""
    assert probe.labels is not None
    return score_queries(found, probe.labels[0], probe.gallery, probe.labels[1]).hits(1).astype(float)


def measure(checkpoint: Checkpoint, probe: Probe, target: str, options: Options) -> dict[str, Any]:
    """Accuracy of one graph beside PyTorch's, fractions, with the interval of the difference."""
    size = checkpoint.preprocessing.size
    graph = convert(UnitEmbedder(checkpoint.build()).eval(), [Port(INPUT, (3, size, size))], target, options)
    with opened(graph) as engines:
        inputs = (probe.queries[start : start + 16] for start in range(0, len(probe.queries), 16))
        blocks = [engines[0].run(graph_input(block, checkpoint.preprocessing, graph.record)) for block in inputs]
    ours, theirs = hits(probe, np.concatenate(blocks)), hits(probe, probe.reference)
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(ours), (2000, len(ours)))
    low, high = np.percentile((ours - theirs)[draws].mean(1), [2.5, 97.5])
    return {
        "target": target,
        "precision": options.precision,
        "engine": engines[0].name,
        "bytes": graph.size,
        "queries": len(ours),
        "torch": float(theirs.mean()),
        "change": float((ours - theirs).mean()),
        "ci95": [float(low), float(high)],
        "overlap": probe.overlap(np.concatenate(blocks)),
    }


def report(rows: list[dict[str, Any]]) -> str:
    """Markdown: each row in points."""
    lines = [
        "| data | network | target | precision | M(q,g) | change, points | overlap@10 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (100 * end for end in row["ci95"])
        lines.append(
            f"| {row['data']} | {row['network']} | {row['target']} | {row['precision']} | {100 * row['torch']:.1f} | "
            f"{100 * row['change']:+.2f} [{low:+.2f}, {high:+.2f}] | {row['overlap']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures what has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/kanji"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--quickstart", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--precisions", nargs="+", default=["int8"])
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quantised_accuracy.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(options.out.read_text()) if options.out.is_file() else []
    done = {(row["data"], row["network"], row["target"], row["precision"]) for row in rows}
    for data, run, gallery in pairs(options):
        wanted = [(target, precision) for target in TARGETS for precision in options.precisions]
        wanted = [pair for pair in wanted if (data, run.name, *pair) not in done]
        if not wanted:
            continue
        checkpoint = Checkpoint.load(run)
        root = options.root if data != "sample" else None
        probe = data_probe(open_dataset(data, root), checkpoint, gallery, options.queries)
        images = calibration_images(data, root, checkpoint.preprocessing, 128)
        prepared = to_input(images, checkpoint.preprocessing)
        for target, precision in wanted:
            if (target, precision) == ("coreml", "int8-static"):
                continue  # a format that it does not have
            calibration = prepared if precision == "int8-static" else None
            chosen = Options(precision=precision, calibration=calibration)
            row = {"data": data, "network": run.name} | measure(checkpoint, probe, target, chosen)
            rows.append(row)
            write_json_atomic(options.out, rows)
            print(json.dumps(row), flush=True)
    print(report(rows))


if __name__ == "__main__":
    main()
