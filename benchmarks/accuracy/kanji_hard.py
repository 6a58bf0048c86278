"""Does the compatibility rule hold where a large model can show what it is worth? Kanji, one hard image an identity.

Training: 1,800 characters in all 45 typefaces. Gallery: one brush, pen or display image of each of 965 unseen
characters. Queries: their other brush, pen and display images. Five draws say which image is the gallery's; no model is
trained anew for another draw. For each seed one gallery model is trained, then one query model per method against it,
at a ninth of its multiply-accumulates. Easier galleries stand beside, asked with the same queries: one print image of
each character, and all 23.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_hard --root data/kanji     # about 15 minutes a network; resumable
    python -m benchmarks.accuracy.kanji_hard --report               # the tables from the rows

Finished runs are kept in ``--runs`` and not trained again; rows go to kanji_hard.json as they come, and the tables of
all that are there to kanji_hard.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.hard_galleries import GALLERIES, UnseenImages, scores_of
from benchmarks.accuracy.hard_report import GALLERY, write_report
from benchmarks.rows import Row, Rows
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.scenario import Scenario
from compat_train.evaluation.embedding_model import open_model
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query

HERE = Path(__file__).parent
SMALL: dict[str, Any] = {"arch": "shufflenet_v2", "width": 0.5, "stem_stride": 2}
IDENTITIES = 1800
EPOCHS = {1800: 4, 1000: 7, 500: 14}
"""By the identities that a model is trained on: 2,450 to 2,530 steps of 128 images for each."""

METHODS: dict[str, dict[str, Any]] = {
    "bct": {"method": "bct"},
    "regression": {"method": "regression"},
    "infonce": {"method": "infonce"},
    "csd": {"method": "csd"},
    "bct-regression": {"method": "bct-regression"},
    "bct-500": {"method": "bct", "identities": 500},
    "regression-500": {"method": "regression", "identities": 500},
    "bct-1000": {"method": "bct", "identities": 1000},
    "regression-1000": {"method": "regression", "identities": 1000},
    "bct-own-0.1": {"method": "bct", "own": 0.1},
    "bct-margin-0": {"method": "bct", "classification": Classification(margin=0.0, scale=30.0)},
    "bct-own-0.1-margin-0": {
        "method": "bct",
        "own": 0.1,
        "classification": Classification(margin=0.0, scale=30.0),
    },
    "classifier": {"method": "classifier"},
}
"""Settings of each query model that differ from the common ones."""
_DEFAULT = ("bct", "regression")


def gallery_config(root: str, seed: int) -> GalleryConfig:
    """The gallery model of one seed: 8.4 MMACs."""
    return GalleryConfig(
        source=Source(data="kanji", root=root),
        arch="resnet18",
        width=0.1875,
        preprocessing=Preprocessing(size=32),
        classification=Classification(margin=0.3, scale=30.0),
        optimisation=Optimisation(epochs=EPOCHS[IDENTITIES], batch=128, lr=0.1),
        augmentation=Augmentation(shift=0.05, zoom=0.08, rotate=4),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
    )


def query_config(root: str, seed: int, gallery: Path, settings: dict[str, Any]) -> QueryConfig:
    """One query model against the gallery model of the same seed: 0.94 MMACs."""
    settings = dict(settings)
    identities = settings.pop("identities", IDENTITIES)
    scenario = Scenario()
    if identities != IDENTITIES:
        scenario = Scenario(class_fraction=identities / IDENTITIES, class_order="random")
    return QueryConfig(
        source=Source(data="kanji", root=root, scenario=scenario),
        gallery=str(gallery),
        optimisation=Optimisation(epochs=EPOCHS[identities], batch=128, lr=0.2, weight_decay=1e-4),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
        **(SMALL | settings),
    )


def row_of(
    method: str,
    seed: int,
    run: Path,
    seconds: float,
    images: UnseenImages,
    gallery: Path,
    kinds: Sequence[str] = GALLERIES,
) -> Row:
    """What is kept of one model: its cost, and its scores per identity against galleries of some kinds."""
    model = open_model(run, threads=1)
    vectors = images.embedded(model, kinds)
    scores = {name: scores_of(images, name, vectors, vectors) for name in kinds}
    across = {}
    if run != gallery:
        stored = images.embedded(open_model(gallery, threads=1), kinds)
        across = {name: scores_of(images, name, vectors, stored) for name in kinds}
    return {
        "method": method,
        "seed": seed,
        "mmacs": round(model.mmacs or 0, 3),
        "train_hours": round(seconds / 3600, 3),
        "own": {name: found.to_json() for name, found in scores.items()},
        "across": {name: found.to_json() for name, found in across.items()},
    }


def run_all(options: argparse.Namespace) -> None:
    """Trains and scores what has no row yet, seed by seed."""
    torch.set_num_threads(1)
    rows = Rows(options.out, "method", "seed")
    images = UnseenImages.of(Path(options.root))
    for seed in options.seeds:
        gallery = options.runs / f"gallery-{seed}"
        for method in (GALLERY, *options.methods):
            if (method, seed) in rows:
                continue
            run = gallery if method == GALLERY else options.runs / f"{method}-{seed}"
            before = time.process_time()
            if method == GALLERY:
                train_gallery(gallery_config(options.root, seed), run)
            else:
                train_query(query_config(options.root, seed, gallery, METHODS[method]), run)
            seconds = time.process_time() - before
            rows.add([row_of(method, seed, run, seconds, images, gallery)])
            write_report(rows.rows, options.out.with_suffix(".md"))


def main() -> None:
    """Runs every method and seed that has no row yet, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs/kanji-hard"), help="folder of the RUN folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(_DEFAULT))
    parser.add_argument("--out", type=Path, default=HERE / "kanji_hard.json")
    parser.add_argument("--report", action="store_true", help="only write the tables from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text()), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
