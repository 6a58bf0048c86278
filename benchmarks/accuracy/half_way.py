"""Does a gallery that meets its query model half-way serve it better? Kanji with a hard gallery.

Both models begin as kanji_hard trained them: the gallery model, and the query model by regression on its vectors. Then
training goes on in one of four ways, which take about as long:

    fixed            the gallery model stays; the query model regresses on it for twice the epochs
    apart            the gallery model goes on under its own loss; the query model follows it
    half-way 0.05    the same, and 0.05 of the regression's gradient moves the gallery model too
    half-way 0.5     the same with half of it

A gallery may become easy to follow by becoming worse, so M(g,g) stands beside M(q,g) and the rule in every row.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_hard --root data/kanji --seeds 0 --methods regression   # both models
    python -m benchmarks.accuracy.half_way --root data/kanji           # about 10 minutes a row; resumable
    python -m benchmarks.accuracy.half_way --report
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy.hard_galleries import GALLERIES, UnseenImages, hard_options, scores_of, values_of
from benchmarks.accuracy.kanji_hard import query_config
from benchmarks.pages import Hits, difference_cell, mean_cell, table, write_page
from benchmarks.rows import Row, Rows
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.config.settings import config_to_json
from compat_train.data.batches import Batch, normalise
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.device import place
from compat_train.evaluation.embedding_model import open_model
from compat_train.loop import fit
from compat_train.methods.classify import classification_loss, new_classifier
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import on_cpu
from compat_train.runs.space_name import identity_of

HERE = Path(__file__).parent
_KIND = GALLERIES[0]
_REGRESSION = 20.0  # weight of the regression, as method regression has it


@dataclass(frozen=True)
class Way:
    """How training goes on.

    Attributes:
        meaning: In a few words.
        share: Of the regression's gradient that reaches the gallery model; None: the gallery model stays as it is.
        epochs: Passes over the training images, in units of ``--epochs``.
    """

    meaning: str
    share: float | None
    epochs: int = 1


WAYS = {
    "half-way 0.05": Way("0.05 of the regression's gradient moves the gallery model", 0.05),
    "fixed": Way("the gallery model stays, twice the epochs", None, 2),
    "half-way 0.5": Way("half of the regression's gradient moves the gallery model", 0.5),
    "apart": Way("the gallery model goes on alone, the query model follows", 0.0),
}
"""Every row, most telling first."""


class _Both(nn.Module):
    """A gallery model with its classifier, and a query model, trained as one."""

    def __init__(self, gallery: Checkpoint, query: Checkpoint, share: float | None) -> None:
        super().__init__()
        assert gallery.classifier is not None  # kanji_hard trains it with one
        self.query, self._share, self._loss = query.build(), share, gallery.classification
        frozen, self.classifier = gallery.build(), new_classifier(*gallery.classifier.shape)
        self.classifier.weight.data.copy_(gallery.classifier)
        if share is None:
            self._gallery = [frozen.requires_grad_(False)]  # in a list, so that it is no part of what is trained
            del self.classifier
        else:
            self.gallery = frozen

    def terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms of the loss; the query model's gradient is that of the plain regression, whatever the share."""
        query = nn.functional.normalize(self.query(images))
        if self._share is None:
            with torch.no_grad():
                target = nn.functional.normalize(self._gallery[0](images))
            return {"regression": _REGRESSION * _distance(query, target)}
        vectors = self.gallery(images)
        target, share = nn.functional.normalize(vectors), self._share
        followed = share * _distance(query, target) + (1 - share) * _distance(query, target.detach())
        own = classification_loss(vectors, self.classifier.weight, labels, self._loss)
        return {"own": own, "regression": _REGRESSION * followed}


def _distance(query: Tensor, target: Tensor) -> Tensor:
    return 1 - (query * target).sum(1).mean()


def go_on(gallery: Path, query: Path, data: TrainingSet, way: Way, epochs: int, seed: int, out: Path) -> float:
    """Trains both models, and writes them to ``out/gallery`` and ``out/query``; goes on where it was stopped.

    Args:
        gallery: RUN folder of the gallery model.
        query: RUN folder of the query model.
        data: Training images.
        way: How.
        epochs: Passes over the images.
        seed: Of the batches.
        out: Folder.

    Returns:
        CPU seconds of this process.
    """
    before = time.process_time()
    models = {"gallery": Checkpoint.load(gallery), "query": Checkpoint.load(query)}
    optimisation = Optimisation(epochs=epochs * way.epochs, batch=128, lr=0.05, weight_decay=1e-4, warmup_epochs=0.2)
    execution = Execution(seed=seed, device="cpu", precision="fp32", threads=1)
    settings = {
        "share": way.share,
        "optimisation": config_to_json(optimisation),
        "spaces": [model.space for model in models.values()],
    }
    torch.manual_seed(seed)
    both = _Both(models["gallery"], models["query"], way.share)
    place(both, torch.device("cpu"))
    preprocessing = models["gallery"].preprocessing

    def objective(batch: Batch) -> dict[str, Tensor]:
        images = normalise(batch.images, preprocessing).contiguous(memory_format=torch.channels_last)
        return both.terms(images, batch.labels)

    augmentation = query_config("", seed, gallery, {}).augmentation
    batches = data.batches(optimisation, execution, augmentation, preprocessing, torch.device("cpu"))
    fit(both, objective, batches, optimisation, execution, run=out, settings=settings, stage="go on")
    parts = {"query": both.query} | ({} if way.share is None else {"gallery": both.gallery})
    saved = dict(models)
    for name, part in parts.items():
        saved[name] = _moved(models[name], part, out / name)
    saved["gallery"] = replace(saved["gallery"], path=out / "gallery")
    saved["query"] = replace(saved["query"], searches=(saved["gallery"].space,))
    for name, model in saved.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        model.save()
    ResumePoints(out).clear()
    return time.process_time() - before


def _moved(model: Checkpoint, part: nn.Module, path: Path) -> Checkpoint:
    """A checkpoint with other weights, which is a space of its own."""
    state = on_cpu(part.state_dict())
    kept = {name: getattr(model, name) for name in ("arch", "dim", "width", "stem_stride", "preprocessing")}
    space = identity_of(state, **kept).space
    return replace(model, path=path, state=state, space=space, classifier=None, classes=())


def row_of(name: str, seed: int, out: Path, seconds: float, images: UnseenImages) -> Row:
    """What is kept of a way: all three accuracies by identity."""
    vectors = {side: images.embedded(open_model(out / side, threads=1), (_KIND,)) for side in ("query", "gallery")}
    pairs = {"own": ("query", "query"), "across": ("query", "gallery"), "paragon": ("gallery", "gallery")}
    return {
        "way": name,
        "seed": seed,
        "train_hours": round(seconds / 3600, 3),
        **{pair: scores_of(images, _KIND, *(vectors[side] for side in of)).to_json() for pair, of in pairs.items()},
    }


def run_all(options: argparse.Namespace) -> None:
    """Trains and scores what has no row yet, the models at the start among it."""
    torch.set_num_threads(1)
    rows, images = Rows(options.out, "way", "seed"), UnseenImages.of(Path(options.root))
    for seed in options.seeds:
        gallery, query = options.runs / f"gallery-{seed}", options.runs / f"regression-{seed}"
        data = None
        for name in ("start", *options.ways):
            if (name, seed) in rows:
                continue
            out, seconds = options.runs / f"{name.replace(' ', '-')}-{seed}", 0.0
            if name == "start":
                out.mkdir(parents=True, exist_ok=True)
                for side, run in (("gallery", gallery), ("query", query)):
                    if not (out / side).exists():
                        (out / side).symlink_to(run.resolve())
            else:
                source, preprocessing = Source(data="kanji", root=options.root), Checkpoint.load(gallery).preprocessing
                data = data or load_training_set(source, preprocessing, cache=options.runs / "pixels")
                seconds = go_on(gallery, query, data, WAYS[name], options.epochs, seed, out)
            rows.add([row_of(name, seed, out, seconds, images)])
            write_report(rows.rows, options.out.with_suffix(".md"))


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes the table below the mark of a page, and prints it."""
    fixed = {row["seed"]: row for row in rows if row["way"] == "fixed"}
    lines = []
    for name in ("start", *WAYS):
        found = [row for row in rows if row["way"] == name]
        if not found:
            continue
        own, across, paragon = (_of(found, pair) for pair in ("own", "across", "paragon"))
        alike = [fixed[row["seed"]] for row in found if row["seed"] in fixed]
        gain = difference_cell(across, _of(alike, "across")) if len(alike) == len(found) and name != "fixed" else ""
        meaning = WAYS[name].meaning if name in WAYS else "the models of kanji_hard"
        hours = f"{np.mean([row['train_hours'] for row in found]):.2f}"
        cells = [mean_cell(paragon), mean_cell(own), mean_cell(across), difference_cell(across, own), gain]
        lines.append([f"{name}: {meaning}", *cells, hours, str(len(found))])
    header = ["training goes on", "M(g,g)", "M(q,q)", "M(q,g)", "M(q,g) - M(q,q)", "M(q,g) to fixed", "CPU hours"]
    note = "Top-1 in percent. 95 % intervals bootstrapped over seeds and unseen identities. Hours are those added."
    tables = [table("A gallery that meets its query model", [*header, "seeds"], lines, note)]
    write_page(page, "benchmarks.accuracy.half_way", tables)


def _of(rows: Sequence[Row], pair: str) -> Hits:
    """Top-1 by identity, ``[seeds, identities]``."""
    return np.stack([values_of(row[pair], "top-1") for row in rows])


def main() -> None:
    """Runs every way and seed that has no row yet, then writes the page."""
    parser = hard_options(__doc__, HERE / "half_way.json")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--epochs", type=int, default=2, help="of the ways in which both models are trained")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(Rows(options.out, "way", "seed").rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
