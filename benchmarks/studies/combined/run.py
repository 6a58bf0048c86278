"""Both searches combined: the global search's moves in depth and width, scored with shared weights. At equal hours.

Each way of searching has the hours of the global search, which trains every candidate. CMP-NAS and the combination
train their shared weights for what is left of them. Networks found are then trained alike, by regression on all of
kanji-hard's training images, and asked in its hard gallery. Random members of the combination's space stand beside.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_hard --root data/kanji --seeds 0 --methods regression    # the gallery model
    python -m benchmarks.studies.combined.run --root data/kanji        # 40 minutes on one core; resumable
    python -m benchmarks.studies.combined.run --report
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.hard_galleries import GALLERIES, UnseenImages, hard_options, values_of
from benchmarks.accuracy.kanji_hard import query_config, row_of
from benchmarks.pages import difference_cell, mean_cell, table, write_page
from benchmarks.rows import Row, Rows
from benchmarks.studies.cmp_nas.search import SEARCH, SPACE
from benchmarks.studies.combined.shared_search import Combined, kept_epochs
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.config.scenario import Scenario
from compat_train.methods.query import train_query
from compat_train.models.global_space import Bounds
from compat_train.nas.cmp.config import CmpConfig, SupernetConfig, ValidationConfig
from compat_train.nas.cmp.run import prepare as prepare_cmp
from compat_train.nas.cmp.run import search_tiers
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.prepare import prepare
from compat_train.nas.global_nas.run import search_candidates
from compat_train.nas.global_nas.schedule import Schedule

HERE = Path(__file__).parent
LIMIT = 0.936  # MMACs, those of kanji_hard's query model
BOUNDS = Bounds(min_depth=5, max_depth=12, min_width=8, max_width=20)
FRACTION = 0.25  # of each character's images, for every search
RANDOM = 3
_KIND = GALLERIES[0]
MEANINGS = {
    "combined": "the global search's moves, shared weights",
    "global": "the global search, every candidate trained",
    "cmp": "CMP-NAS",
    **{f"random {number}": "a member of the combined space" for number in range(1, RANDOM + 1)},
}
"""What each row is."""


class Searches:
    """The three ways to search, for one seed."""

    def __init__(self, root: str, runs: Path, seed: int, found: Callable[[str], Row | None]) -> None:
        """Searches nothing yet; ``found`` gives a row that is finished."""
        self._root, self._gallery, self._seed, self._found = root, runs / f"gallery-{seed}", seed, found
        self._folder = runs / f"combined-{seed}"
        self._source = Source(data="kanji-hard", root=root, scenario=Scenario(fraction=FRACTION))
        self._execution = Execution(seed=seed, device="cpu", precision="fp32", threads=1)

    def search(self, name: str) -> tuple[str, int, float]:
        """What a row found: architecture name, stem stride, and hours of searching."""
        if name == "global":
            return self._global()
        searched = self._found("global")
        assert searched is not None  # it is the first of a seed
        seconds = 3600 * searched["search_hours"]
        if name == "cmp":
            return self._cmp(seconds)
        combined = Combined(self._config(), self._folder / "shared")
        if name == "combined":
            before = time.process_time()
            member = combined.search(seconds)
            return member.name, 2, (time.process_time() - before) / 3600
        return combined.random(RANDOM)[int(name.rpartition(" ")[2]) - 1].name, 2, 0.0

    def _config(self) -> GlobalConfig:
        return GlobalConfig(
            source=self._source,
            objective="r3",
            gallery=str(self._gallery),
            mmacs=LIMIT,
            bounds=BOUNDS,
            stem_stride=2,
            macro_epochs=2,
            micro=False,
            ranking="static",
            method="regression",
            optimisation=Schedule(batch=128, lr=0.2, weight_decay=1e-4, warmup_epochs=0.5, gradient_norm=0.0),
            execution=self._execution,
        )

    def _global(self) -> tuple[str, int, float]:
        config, folder = self._config(), self._folder / "global"
        prepared = prepare(config, folder)
        log = CandidateLog(folder / "candidates.jsonl", prepared.settings)
        found = search_candidates(config, prepared, log, folder)
        return found.member.name, config.stem_stride, log.total("cpu_seconds") / 3600

    def _cmp(self, seconds: float) -> tuple[str, int, float]:
        schedule = Optimisation(epochs=1, batch=64, lr=0.4, weight_decay=1e-4, warmup_epochs=0.5)
        config = CmpConfig(
            source=self._source,
            gallery=str(self._gallery),
            mmacs=(LIMIT,),
            space=SPACE,
            method="regression",
            supernet=SupernetConfig(optimisation=schedule, operation_warmup=0.15, channel_warmup=0.5),
            search=replace(SEARCH, seed=self._seed),
            validation=ValidationConfig(queries=1000, gallery=0, calibration=1024),
            static=(),
            execution=self._execution,
        )
        folder = self._folder / "cmp"
        prepared = prepare_cmp(config, folder)

        def measured() -> int:
            tried = self._folder / "cmp-an-epoch"
            shutil.rmtree(tried, ignore_errors=True)  # a part of an epoch would look like a fast one
            before = time.process_time()
            train_supernet(config, prepared.gallery, prepared.data, tried)
            an_epoch = time.process_time() - before
            return max(2, round(0.8 * seconds / an_epoch))  # about a fifth is the candidates'

        epochs = kept_epochs(self._folder / "cmp-epochs.json", measured)
        config = replace(config, supernet=replace(config.supernet, optimisation=replace(schedule, epochs=epochs)))
        before = time.process_time()
        weights = train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")
        best = search_tiers(config, prepared, weights, folder)[LIMIT][0]
        return best.member.name, config.stem_stride, (time.process_time() - before) / 3600


def run_all(options: argparse.Namespace) -> None:
    """Searches, trains and scores what has no row yet."""
    torch.set_num_threads(1)
    rows, images = Rows(options.out, "method", "seed"), UnseenImages.of(Path(options.root))
    for seed in options.seeds:
        gallery = options.runs / f"gallery-{seed}"

        def found(name: str, seed: int = seed) -> Row | None:
            return next((row for row in rows.rows if (row["method"], row["seed"]) == (name, seed)), None)

        searches = Searches(options.root, options.runs, seed, found)
        for name in ("global", "combined", "cmp", *(f"random {number}" for number in range(1, RANDOM + 1))):
            if (name, seed) in rows:
                continue
            arch, stem_stride, hours = searches.search(name)
            settings = {"method": "regression", "arch": arch, "width": 1.0, "stem_stride": stem_stride}
            config = query_config(options.root, seed, gallery, settings)
            config = replace(config, optimisation=replace(config.optimisation, epochs=options.epochs))
            run, before = options.runs / f"combined-{seed}" / "networks" / name.replace(" ", "-"), time.process_time()
            train_query(config, run)
            row = row_of(name, seed, run, time.process_time() - before, images, gallery, (_KIND,))
            rows.add([row | {"arch": arch, "search_hours": round(hours, 3)}])
            write_report(rows.rows, options.out.with_suffix(".md"))


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes the table below the mark of a page, and prints it."""
    combined = {row["seed"]: row for row in rows if row["method"] == "combined"}
    lines = []
    for name, meaning in MEANINGS.items():
        found = [row for row in rows if row["method"] == name]
        if not found:
            continue
        own, across = (np.stack([values_of(row[side][_KIND], "top-1") for row in found]) for side in ("own", "across"))
        alike = [combined[row["seed"]] for row in found if row["seed"] in combined]
        gain = ""
        if len(alike) == len(found) and name != "combined":
            gain = difference_cell(np.stack([values_of(row["across"][_KIND], "top-1") for row in alike]), across)
        hours = [f"{np.mean([row[key] for row in found]):.2f}" for key in ("search_hours", "train_hours")]
        cost = f"{np.mean([row['mmacs'] for row in found]):.3f}"
        lines.append([f"{name}: {meaning}", cost, mean_cell(own), mean_cell(across), gain, *hours, str(len(found))])
    header = ["search", "MMACs", "M(q,q)", "M(q,g)", "combined gains", "hours of search", "of training", "seeds"]
    note = "Top-1 in percent, one hard image an identity. 95 % intervals bootstrapped over seeds and unseen identities."
    networks = [[f"{row['method']}, seed {row['seed']}", f"`{row['arch']}`"] for row in rows]
    parts = [table(f"Searches within {LIMIT:g} MMACs", header, lines, note)]
    write_page(page, "benchmarks.studies.combined.run", [*parts, table("Networks found", ["row", "network"], networks)])


def main() -> None:
    """Runs what has no row yet, then writes the page."""
    parser = hard_options(__doc__, HERE / "combined.json")
    parser.add_argument("--epochs", type=int, default=4, help="of every network that was found")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(Rows(options.out, "method", "seed").rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
