"""Does the supernet rank networks as a full training does? The forty members of Fig. 4, seed 0.

What they reach when each is trained alone is known from cmp_nas.json. Here they are scored with a supernet's shared
weights, on the validation characters, and the two orders are compared. Variants change the supernet or the scoring.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.studies.cmp_nas.ranking --root data/kanji       # half an hour on one core; resumable
    python -m benchmarks.studies.cmp_nas.ranking --report

The gallery model is trained again if it is not there: 8 epochs of 22,500 images, the longest part.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.accuracy.kanji_compatibility import gallery_config
from benchmarks.pages import cell, table, write_page
from benchmarks.rows import Row, Rows
from benchmarks.studies.cmp_nas.jobs import fig4_members
from benchmarks.studies.cmp_nas.report import spearman
from benchmarks.studies.cmp_nas.search import TIERS, search_config
from compat_sdk.metrics.scores import bootstrap_mean
from compat_train.config.parts import Optimisation
from compat_train.config.scenario import Scenario
from compat_train.embed import embed_images
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.models.search_space import Member
from compat_train.models.supernet import take_member
from compat_train.nas.cmp.candidate import recalibrate
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.run import Prepared, open_evaluations, prepare
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.cmp.validation import Validation
from compat_train.runs.run_files import read_tensors

HERE = Path(__file__).parent
_SEED = 0  # the one whose forty members were trained
_BEST = 5


@dataclass(frozen=True)
class Variant:
    """A supernet, and how members are scored with it.

    Attributes:
        meaning: In a few words.
        epochs: Of the supernet.
        bins: Equal ranges of MMACs that its steps draw from; 0: uniform over all members.
        calibration: Images for a candidate's batch norms.
        tuned: Whether each candidate is trained a little from the shared weights before it is scored.
    """

    meaning: str
    epochs: int = 4
    bins: int = 6
    calibration: int = 1024
    tuned: bool = False


VARIANTS = {
    "as in the study": Variant("4 epochs, 1,024 images for batch norms"),
    "more images": Variant("4,096 images for batch norms", calibration=4096),
    "uniform": Variant("members drawn uniformly", bins=0),
    "longer": Variant("16 epochs", epochs=16),
    "tuned": Variant("each candidate is trained for 70 steps first", tuned=True),
    "longer, tuned": Variant("16 epochs, and each candidate is trained for 70 steps first", epochs=16, tuned=True),
}
"""Every variant, cheapest first."""


def config_of(root: str, runs: Path, variant: Variant) -> CmpConfig:
    """The study's search with a variant's supernet; its widest budget, so that the schedule is the study's."""
    config = replace(search_config(root, runs, _SEED), mmacs=tuple(TIERS.values()))
    optimisation = replace(config.supernet.optimisation, epochs=variant.epochs)
    return replace(
        config,
        supernet=replace(config.supernet, optimisation=optimisation, bins=variant.bins),
        validation=replace(config.validation, calibration=variant.calibration),
    )


def run_variant(root: str, runs: Path, name: str) -> Row:
    """Scores the forty members by a variant; the supernet is shared by variants that differ in the scoring alone."""
    variant = VARIANTS[name]
    config = config_of(root, runs, variant)
    folder = runs / "cmp" / f"ranking-{variant.epochs}-{variant.bins}-{variant.calibration}"
    prepared = prepare(config, folder)
    members = fig4_members(prepared.costs)
    before = time.process_time()
    supernet = runs / "cmp" / f"ranking-supernet-{variant.epochs}-{variant.bins}"
    weights = train_supernet(config, prepared.gallery, prepared.data, supernet)
    trained = time.process_time()
    if variant.tuned:
        scores = [_tuned(config, prepared, weights, member, folder) for member in members]
    else:
        with open_evaluations(config, prepared, weights, folder) as evaluations:
            scores = [[found.own, found.across] for found in evaluations.scores(members, "both")]
    return {
        "variant": name,
        "supernet_hours": round((trained - before) / 3600, 3),
        "score_seconds": round((time.process_time() - trained) / len(members), 2),
        "scores": {member.name: found for member, found in zip(members, scores, strict=True)},
    }


def _tuned(config: CmpConfig, prepared: Prepared, weights: Path, member: Member, folder: Path) -> list[float | None]:
    """M(q,q) and M(q,g) of a member after 70 steps from the supernet's weights."""
    images, gallery = Validation.load(folder / "validation"), prepared.gallery
    state = read_tensors(weights.read_bytes(), str(weights))
    network = take_member(state, member, dim=gallery.dim, stem_stride=config.stem_stride)
    recalibrate(network, images.calibration, gallery.preprocessing)
    place = f"{''.join(map(str, member.operations))}-{''.join(map(str, member.scales))}"
    start = folder / "tuned" / f"{place}.safetensors"
    start.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), start)
    training = replace(
        config.training(member.name),
        source=replace(config.source, scenario=Scenario(fraction=0.2)),
        weights=str(start),
        optimisation=Optimisation(epochs=1, batch=64, lr=0.1, weight_decay=1e-4, warmup_epochs=0.1),
        watch=0,
    )
    model = train_query(training, folder / "tuned" / place).build()
    queries, own = (
        embed_images(model, pixels, gallery.preprocessing, channels_last=True)
        for pixels in (images.queries, images.gallery)
    )
    sides = [own, np.asarray(images.gallery_embeddings)]
    found = [images.gallery_labels[(queries @ side.T).argmax(1)] for side in sides]
    return [float((labels == images.query_labels).mean()) for labels in found]


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes the table below the mark of a page, and prints it."""
    trained = {
        row["arch"]: row["across"]
        for row in json.loads((HERE / "cmp_nas.json").read_text())["rows"]
        if row["stage"] == "fig4" and row["method"] == "bct"
    }
    lines = []
    for row in sorted(rows, key=lambda row: list(VARIANTS).index(row["variant"])):
        scored = {arch: found for arch, found in row["scores"].items() if arch in trained and None not in found}
        reached = np.array([trained[arch] for arch in scored])
        own, across = np.array(list(scored.values())).T
        ranks = [spearman(list(values), list(reached)) for values in (own, across, own * across)]
        best = np.argsort(-own * across)[:_BEST]
        lines.append(
            [
                f"{row['variant']}: {VARIANTS[row['variant']].meaning}",
                *(f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in ranks),
                cell(bootstrap_mean(reached[best] - reached.mean()), "+"),
                f"{row['supernet_hours']:.2f}",
                f"{row['score_seconds']:.1f}",
                str(len(scored)),
            ]
        )
    header = ["supernet", "M(q,q)", "M(q,g)", "R3", f"the {_BEST} best by R3", "hours", "seconds a member", "members"]
    note = (
        f"Spearman correlation of a member's score with the M(q,g) it reaches when it is trained alone, with 95 % "
        f"intervals bootstrapped over the members. The {_BEST} best by R3: how far their M(q,g), trained alone, is "
        f"above the mean of all, in points."
    )
    tables = [table("Scores of the shared weights against M(q,g) of full training", header, lines, note)]
    write_page(page, "benchmarks.studies.cmp_nas.ranking", tables)


def main() -> None:
    """Runs every variant that has no row yet, then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the study's RUN folders")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=HERE / "ranking.json")
    parser.add_argument("--report", action="store_true", help="only write the page from the rows")
    options = parser.parse_args()
    rows = Rows(options.out, "variant")
    if not options.report:
        torch.set_num_threads(1)
        train_gallery(gallery_config(options.root, _SEED), options.runs / "kanji" / f"gallery-{_SEED}")
        for name in options.variants:
            if (name,) not in rows:
                rows.add([run_variant(options.root, options.runs, name)])
                write_report(rows.rows, options.out.with_suffix(".md"))
    write_report(rows.rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
