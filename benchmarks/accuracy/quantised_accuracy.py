"""What weights of 8 bits do to M(q,g): every target, on the bundled sample and on kanji, against the PyTorch network.

    compat-sdk quickstart --out runs/quickstart
    python -m benchmarks.studies.cmp_nas.run --root data/kanji             # trains the networks
    python -m benchmarks.accuracy.quantised_accuracy --root data/kanji     # [--precisions int8 int8-static fp16]
    python -m benchmarks.accuracy.quantised_accuracy --report              # the table from the rows

Each network is exported with `compat_export`, and its graphs embed the queries; Core ML packages are computed by
`compat_export.mil`. The change is paired (same queries, same gallery, which the gallery model embeds); its interval is
a bootstrap over queries, 2,000 draws. Rows go to quantised_accuracy.json; those that are there are kept. The
table goes to quantised_accuracy.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pages import table, write_page
from benchmarks.rows import Row, Rows
from compat_export.check.compare import Probe, calibration_images, data_probe
from compat_export.convert.conversion import INPUT, Options, Port
from compat_export.convert.graphs import convert, opened
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.datasets import open_dataset
from compat_sdk.embedder import graph_input
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


def measure(checkpoint: Checkpoint, probe: Probe, target: str, options: Options) -> Row:
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


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes the change of every network by every graph below the mark of a page, and prints it."""
    columns = sorted(
        {(row["precision"], row["target"]) for row in rows}, key=lambda column: (column[0], TARGETS.index(column[1]))
    )
    lines = []
    for data, network in dict.fromkeys((row["data"], row["network"]) for row in rows):
        found = {
            (row["precision"], row["target"]): row for row in rows if (row["data"], row["network"]) == (data, network)
        }
        accuracy = f"{100 * next(iter(found.values()))['torch']:.1f}"
        lines.append([data, network, accuracy, *(_change(found.get(column)) for column in columns)])
    header = ["data", "network", "M(q,g)", *(f"{precision}, {target}" for precision, target in columns)]
    note = "M(q,g) of the graph minus that of the PyTorch network, in points, with 95 % intervals over the queries."
    title = "Graphs of fewer bits beside PyTorch"
    write_page(page, "benchmarks.accuracy.quantised_accuracy", [table(title, header, lines, note)])


def _change(row: Row | None) -> str:
    if row is None:
        return ""
    low, high = (100 * end for end in row["ci95"])
    return f"{100 * row['change']:+.2f} [{low:+.2f}, {high:+.2f}]"


def run_all(options: argparse.Namespace) -> None:
    """Measures what has no row yet."""
    rows = Rows(options.out, "data", "network", "target", "precision")
    for data, run, gallery in pairs(options):
        wanted = [(target, precision) for target in TARGETS for precision in options.precisions]
        wanted = [pair for pair in wanted if (data, run.name, *pair) not in rows]
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
            rows.add([row])
            print(json.dumps(row), flush=True)


def main() -> None:
    """Runs what is missing, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/kanji"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--quickstart", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--precisions", nargs="+", default=["int8"])
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=HERE / "quantised_accuracy.json")
    parser.add_argument("--report", action="store_true", help="only write the table from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text()), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
