"""What closes the gap between a small query model and the gallery model? Kanji with a hard gallery, change by change.

Every row is one query model, trained by regression without labels against the gallery model of kanji_hard, which stays
as it is. One row is kanji_hard's own, and each of the others says what is changed. Rows are ordered by M(q,g).

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_hard --root data/kanji --seeds 0 --methods regression   # the gallery model
    python -m benchmarks.accuracy.paragon_gap --root data/kanji                                 # resumable
    python -m benchmarks.accuracy.paragon_gap --report                                          # the page from the rows

Networks named ``plain WIDTHxDEPTH`` are the widest of the global search's space that keep within a tier: separable 3x3
layers, stem stride 2. Tiers are the gallery model's multiply-accumulates divided by 9, 23, 35 and 80.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.gap_report import write_report
from benchmarks.accuracy.hard_galleries import GALLERIES, UnseenImages, hard_options
from benchmarks.accuracy.kanji_hard import query_config, row_of
from benchmarks.rows import Rows
from compat_sdk.datasets import open_dataset
from compat_train.config.parts import Augmentation, Source
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.methods.query import train_query
from compat_train.models.global_space import GlobalMember, Layer
from compat_train.runs.checkpoint import Checkpoint

HERE = Path(__file__).parent
_VIEWS = Augmentation(shift=0.05, zoom=0.08, rotate=4, fixed_views=4)


def _plain(width: int, depth: int) -> dict[str, Any]:
    """A network of separable layers, instead of the ShuffleNetV2."""
    return {"arch": GlobalMember(width=width, layers=(Layer(),) * depth).name, "width": 1.0, "stem_stride": 2}


@dataclass(frozen=True)
class Change:
    """What a row changes in kanji_hard's regression.

    Attributes:
        meaning: In a few words.
        settings: Of the query model, that differ.
        epochs: Passes over the training images.
        more: Whether the print images of the unseen characters are regressed on too, without their labels.
    """

    meaning: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 4
    more: bool = False


CHANGES = {
    "longer": Change("12 epochs", epochs=12),
    "network": Change("plain 16x8", _plain(16, 8)),
    "network, longer": Change("plain 16x8, 16 epochs", _plain(16, 8), 16),
    "network, longer, more images": Change(
        "the same, and 22,191 print images of the unseen characters, without labels", _plain(16, 8), 16, more=True
    ),
    "views": Change("four views of each image", {"augmentation": _VIEWS}),
    "relational": Change("and as similar to 1,024 images as the gallery model's (csd)", {"csd": 1.0}),
    "centred": Change("the mean of the gallery's vectors taken off", {"method": "regression-centred"}),
    "mixed": Change("and cut-and-paste images", {"mixed": True}),
    "tier 23": Change("plain 8x8, 16 epochs, more images", _plain(8, 8), 16, more=True),
    "tier 35": Change("plain 6x8, 16 epochs, more images", _plain(6, 8), 16, more=True),
    "tier 80": Change("plain 3x9, 16 epochs, more images", _plain(3, 9), 16, more=True),
    "all": Change(
        "plain 16x8, 48 epochs, more images, four views", _plain(16, 8) | {"augmentation": _VIEWS}, 48, more=True
    ),
}
"""Every row, best guess first."""


def images_of(root: str, gallery: Path, cache: Path, *, more: bool) -> TrainingSet:
    """The training characters' images as the gallery model decodes them.

    Args:
        root: Folder of the built set.
        gallery: RUN folder of the gallery model.
        cache: Folder for decoded images.
        more: Add the print images of the unseen characters; then nothing has a label. None of them is in kanji-hard's
            gallery or among its queries.
    """
    preprocessing = Checkpoint.load(gallery).preprocessing
    known = load_training_set(Source(data="kanji", root=root), preprocessing, cache=cache)
    if not more:
        return known
    printed = decode_split(open_dataset("kanji", Path(root)).splits["gallery"], preprocessing, threads=1).images
    pixels = np.concatenate([known.pixels, printed])
    return TrainingSet(pixels, np.full(len(pixels), -1, np.int64), ())


def run_all(options: argparse.Namespace) -> None:
    """Trains and scores what has no row yet."""
    torch.set_num_threads(1)
    rows = Rows(options.out, "method", "seed")
    unseen = UnseenImages.of(Path(options.root))
    for seed in options.seeds:
        gallery = options.runs / f"gallery-{seed}"
        for name in options.changes:
            if (name, seed) in rows:
                continue
            change = CHANGES[name]
            config = query_config(options.root, seed, gallery, {"method": "regression"} | dict(change.settings))
            config = replace(config, optimisation=replace(config.optimisation, epochs=change.epochs))
            data = images_of(options.root, gallery, options.runs / "pixels", more=change.more)
            run = options.runs / f"gap-{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            before = time.process_time()
            train_query(config, run, data=data)
            seconds = time.process_time() - before
            row = row_of(name, seed, run, seconds, unseen, gallery, GALLERIES[:1])
            rows.add([row | {"meaning": change.meaning, "epochs": change.epochs}])
            write_report(rows.rows, _of_kanji_hard(), options.out.with_suffix(".md"))


def _of_kanji_hard() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((HERE / "kanji_hard.json").read_text())
    return found


def main() -> None:
    """Runs every change and seed that has no row yet, then writes the page."""
    parser = hard_options(__doc__, HERE / "paragon_gap.json")
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(Rows(options.out, "method", "seed").rows, _of_kanji_hard(), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
