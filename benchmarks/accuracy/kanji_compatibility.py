"""Which training methods make a small query model compatible with a large gallery model, on kanji.

Open-set retrieval: 500 characters to train on, 965 unseen ones to search, queries in brush, pen and display faces,
the gallery in print faces. For each seed one gallery model is trained, then one query model per method against it,
with a tenth of its multiply-accumulates; M(q,q), M(q,g), M(g,g) and the compatibility rule follow.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_compatibility --root data/kanji     # 1.5 hours on one core; resumable
    python -m benchmarks.accuracy.kanji_compatibility --report               # the table from the rows

Finished runs are kept in ``--runs`` and not trained again; rows go to kanji_compatibility.json as they come, and
the table of all that are there to kanji_compatibility.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pages import Hits, difference_cell, mean_cell, table, write_page
from benchmarks.rows import Row, Rows
from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.evaluation.evaluate import evaluate
from compat_train.evaluation.result import Evaluation
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query

HERE = Path(__file__).parent
SYSTEMS = ("query_query", "query_gallery", "gallery_gallery")
SMALL: dict[str, Any] = {"arch": "shufflenet_v2", "width": 0.5, "stem_stride": 2}

# Name of a row: what it says of the method, and the settings that differ from the common ones.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "vanilla": ("own classifier only", {"method": "vanilla"}),
    "kd": ("own classifier and distilled logits", {"method": "kd"}),
    "bct": ("own classifier and the gallery's", {"method": "bct"}),
    "bct-regression": ("BCT and regression to the gallery embedding", {"method": "bct-regression"}),
    "regression-mixed": ("regression alone, also on cut-and-paste images", {"method": "regression", "mixed": True}),
    "regression-unlabelled": (
        "regression alone, on 1,800 characters (1,300 of them new) without their labels",
        {"method": "regression", "data": "kanji", "epochs": 4},
    ),
    "infonce-unlabelled": (
        "which of a bank's gallery vectors is the image's own, on the same 1,800 characters",
        {"method": "infonce", "data": "kanji", "epochs": 4},
    ),
    "csd-unlabelled": (
        "similarities to a bank of gallery vectors, on the same 1,800 characters",
        {"method": "csd", "data": "kanji", "epochs": 4},
    ),
    "regression-mixed-query-faces": (
        "the same, on images in the queries' faces only",
        {"method": "regression", "mixed": True, "data": "kanji-500-query-faces", "epochs": 12},
    ),
}


def gallery_config(root: str, seed: int) -> GalleryConfig:
    """The gallery model of one seed."""
    return GalleryConfig(
        source=Source(data="kanji-500", root=root),
        arch="resnet18",
        width=0.1875,
        preprocessing=Preprocessing(size=64),
        classification=Classification(margin=0.3, scale=30.0),
        optimisation=Optimisation(epochs=8, batch=128, lr=0.1),
        augmentation=Augmentation(shift=0.05, zoom=0.08, rotate=4),
        execution=Execution(seed=seed, device="cpu", precision="bf16", threads=1),
    )


def query_config(root: str, seed: int, gallery: Path, settings: dict[str, Any]) -> QueryConfig:
    """One query model against the gallery model of the same seed."""
    settings = dict(settings)
    data, epochs = settings.pop("data", "kanji-500"), settings.pop("epochs", 6)
    return QueryConfig(
        source=Source(data=data, root=root),
        gallery=str(gallery),
        optimisation=Optimisation(epochs=epochs, batch=128, lr=0.2, weight_decay=1e-4),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
        **(SMALL | settings),
    )


def row_of(name: str, seed: int, seconds: float, found: Evaluation) -> Row:
    """What is kept of one evaluation: its JSON and each query's hit at rank 1, as hexadecimal bits."""
    hits = {system: np.packbits(found.per_query[system].hits(1) > 0).tobytes().hex() for system in SYSTEMS}
    return {"method": name, "seed": seed, "train_cpu_seconds": round(seconds, 1), "hits": hits} | found.to_json()


def hits_of(row: Row, system: str) -> Hits:
    """Hit at rank 1 of each query of a row, 0 or 1."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["hits"][system]), np.uint8))
    return bits[: row["queries"]].astype(np.float64)


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes per method the means over the seeds below the mark of a page, and prints them."""
    lines = []
    for name, (meaning, _) in METHODS.items():
        of_method = [row for row in rows if row["method"] == name]
        if not of_method:
            continue
        own, across = (np.stack([hits_of(row, system) for row in of_method]) for system in SYSTEMS[:2])
        held = sum(row["compatible"] for row in of_method)
        cells = mean_cell(own), mean_cell(across), difference_cell(across, own)
        lines.append([f"{name}: {meaning}", *cells, f"{held} of {len(of_method)} seeds"])
    firsts = list({row["seed"]: row for row in rows}.values())
    paragon = mean_cell(np.stack([hits_of(row, "gallery_gallery") for row in firsts]))
    lines.append(["the gallery model itself, M(g,g)", "", "", paragon, ""])
    header = ["query model trained by", "M(q,q)", "M(q,g)", "M(q,g) - M(q,q)", "holds in"]
    note = "Top-1 in percent, means over the seeds, 95 % intervals bootstrapped over seeds and queries."
    title = "Compatibility by training method"
    write_page(page, "benchmarks.accuracy.kanji_compatibility", [table(title, header, lines, note)])


def run(root: str, runs: Path, seed: int, name: str, dataset: Dataset) -> Row:
    """Trains what is missing and evaluates one row."""
    gallery = runs / f"gallery-{seed}"
    train_gallery(gallery_config(root, seed), gallery)
    out = runs / f"{name}-{seed}"
    before = time.process_time()
    train_query(query_config(root, seed, gallery, METHODS[name][1]), out)
    seconds = time.process_time() - before
    return row_of(name, seed, seconds, evaluate(dataset, out, gallery, threads=1))


def run_all(options: argparse.Namespace) -> None:
    """Computes the rows that are missing."""
    torch.set_num_threads(1)
    rows = Rows(options.out, "method", "seed")
    rows.facts |= {"torch": torch.__version__, "machine": platform.machine()}
    dataset = open_dataset("kanji-500", Path(options.root))
    for seed in options.seeds:
        for name in options.methods:
            if (name, seed) in rows:
                continue
            row = run(options.root, options.runs, seed, name, dataset)
            rows.add([row])
            print(
                f"seed {seed} {name}: M(q,q) {row['query_query']['cmc']['1']:.3f} "
                f"M(q,g) {row['query_gallery']['cmc']['1']:.3f}",
                flush=True,
            )


def main() -> None:
    """Runs every method and seed that has no row yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs/kanji"), help="folder of the RUN folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path, default=HERE / "kanji_compatibility.json")
    parser.add_argument("--report", action="store_true", help="only write the table from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text())["rows"], options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
