"""A gallery model without a classifier as the target of a search: R2 and R3 with losses that need none.

The gallery model is kanji_hard's, and its classifier is thrown away: what is left is what an adopted model or an API
offers. Supernet and networks are trained on its vectors alone. For each method one supernet serves both rewards, and
random members of the space stand beside, trained alike.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_hard --root data/kanji --seeds 0 --methods regression    # the gallery model
    python -m benchmarks.studies.cmp_nas.without_classifier --root data/kanji    # half an hour a method; resumable
    python -m benchmarks.studies.cmp_nas.without_classifier --report
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.hard_galleries import GALLERIES, UnseenImages, hard_options, values_of
from benchmarks.accuracy.kanji_hard import query_config, row_of
from benchmarks.pages import Hits, difference_cell, mean_cell, table, write_page
from benchmarks.rows import Row, Rows
from benchmarks.studies.cmp_nas.search import MAIN, SEARCH, SPACE
from compat_train.config.method_terms import QueryMethod
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.config.scenario import Scenario
from compat_train.methods.query import train_query
from compat_train.models.search_space import Member
from compat_train.nas.cmp.config import CmpConfig, Reward, SupernetConfig, ValidationConfig
from compat_train.nas.cmp.run import Prepared, prepare, search_tiers
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.runs.checkpoint import Checkpoint

HERE = Path(__file__).parent
METHODS: tuple[QueryMethod, ...] = ("regression-centred", "csd", "infonce")
REWARDS: tuple[Reward, ...] = ("r2", "r3")
FRACTION = 0.25  # of each character's images, for the searches
RANDOM = 2
_KIND = GALLERIES[0]


def without_classifier(gallery: Path, out: Path) -> Path:
    """A gallery model's RUN folder as it would be had nobody kept its classifier."""
    if not out.is_dir():
        out.mkdir(parents=True)
        replace(Checkpoint.load(gallery), path=out, classifier=None, classes=()).save()
    return out


def search_config(root: str, gallery: Path, seed: int, method: QueryMethod, reward: Reward) -> CmpConfig:
    """The search of one method and reward."""
    return CmpConfig(
        source=Source(data="kanji-hard", root=root, scenario=Scenario(fraction=FRACTION)),
        gallery=str(gallery),
        mmacs=(MAIN,),
        reward=reward,
        space=SPACE,
        method=method,
        supernet=SupernetConfig(
            optimisation=Optimisation(epochs=4, batch=64, lr=0.4, weight_decay=1e-4, warmup_epochs=0.5),
            operation_warmup=0.15,
            channel_warmup=0.5,
        ),
        search=replace(SEARCH, seed=seed),
        validation=ValidationConfig(queries=1000, gallery=0, calibration=1024),
        static=(),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
    )


def searched(config: CmpConfig, prepared: Prepared, folder: Path) -> Member:
    """The best member by the reward; the supernet and the scores of a folder serve every reward."""
    weights = train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")
    return search_tiers(config, prepared, weights, folder)[MAIN][0].member


def run_all(options: argparse.Namespace) -> None:
    """Searches, trains and scores what has no row yet."""
    torch.set_num_threads(1)
    rows, images = Rows(options.out, "method", "chosen", "seed"), UnseenImages.of(Path(options.root))
    for seed in options.seeds:
        gallery = without_classifier(options.runs / f"gallery-{seed}", options.runs / f"gallery-vectors-{seed}")
        for method in options.methods:
            folder = options.runs / f"without-{method}-{seed}"
            for chosen in (*REWARDS, *(f"random {number}" for number in range(1, RANDOM + 1))):
                if (method, chosen, seed) in rows:
                    continue
                before = time.process_time()
                reward: Reward = "r2" if chosen == "r2" else "r3"
                config = search_config(options.root, gallery, seed, method, reward)
                prepared = prepare(config, folder)
                if chosen in REWARDS:
                    member = searched(config, prepared, folder)
                else:
                    generator = np.random.default_rng((seed, int(chosen.rpartition(" ")[2])))
                    member = MemberSampler(prepared.costs).draw(generator, 0.8 * MAIN, MAIN)
                between = time.process_time()
                settings = {"method": method, "arch": member.name, "width": 1.0, "stem_stride": 1}
                training = query_config(options.root, seed, gallery, settings)
                training = replace(training, optimisation=replace(training.optimisation, epochs=options.epochs))
                run = folder / "networks" / chosen.replace(" ", "-")
                train_query(training, run)
                row = row_of(method, seed, run, time.process_time() - between, images, gallery, (_KIND,))
                hours = round((between - before) / 3600, 3)
                rows.add([row | {"chosen": chosen, "arch": member.name, "search_hours": hours}])
                write_report(rows.rows, options.out.with_suffix(".md"))


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes the table below the mark of a page, and prints it."""
    lines = []
    for method in METHODS:
        of_method = [row for row in rows if row["method"] == method]
        random = [row for row in of_method if row["chosen"] not in REWARDS]
        groups = [(reward, [row for row in of_method if row["chosen"] == reward]) for reward in REWARDS]
        for chosen, found in (*groups, ("random members", random)):
            if not found:
                continue
            own, across = (_values(found, side) for side in ("own", "across"))
            gain = ""
            if chosen in REWARDS and random:
                gain = difference_cell(across.mean(0)[None], _values(random, "across").mean(0)[None])
            cost, hours = (f"{np.mean([row[key] for row in found]):.2f}" for key in ("mmacs", "search_hours"))
            cells = [cost, mean_cell(own), mean_cell(across), difference_cell(across, own), gain, hours]
            lines.append([f"{method}, {chosen}", *cells, str(len(found))])
    header = ["loss, chosen by", "MMACs", "M(q,q)", "M(q,g)", "M(q,g) - M(q,q)", "to random", "hours of search", "rows"]
    note = (
        "Top-1 in percent, one hard image an identity. 95 % intervals bootstrapped over the unseen identities. The "
        "first row of a method has the hours of the supernet."
    )
    tables = [table("Searches against a gallery model without a classifier", header, lines, note)]
    write_page(page, "benchmarks.studies.cmp_nas.without_classifier", tables)


def _values(rows: Sequence[Row], side: str) -> Hits:
    """Top-1 by identity, ``[rows, identities]``."""
    return np.stack([values_of(row[side][_KIND], "top-1") for row in rows])


def main() -> None:
    """Runs what has no row yet, then writes the page."""
    parser = hard_options(__doc__, HERE / "without_classifier.json")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS[:1]))
    parser.add_argument("--epochs", type=int, default=2, help="of every network that was found")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(Rows(options.out, "method", "chosen", "seed").rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
