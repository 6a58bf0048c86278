"""What an upgrade of a gallery is worth: FCT with every kind of side-information, DMU's adaptation, BCT, two hops.

Three generations of models, each trained on more classes than the one before and none knowing of another: v1, old, new.
On kanji and Fashion-MNIST queries and gallery show the classes that the new model knows, as on ImageNet in FCT (on
kanji in typefaces that no model was trained on); kanji-open asks for characters that no model has seen. Transforms are
trained on the new model's data. Rows go to upgrades.json as they come; finished runs and rows are kept.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.studies.upgrades.run --root data/kanji --workers 2         # hours on two cores; resumable
    python -m benchmarks.studies.upgrades.run --report                              # upgrades.md from the rows
    python -m benchmarks.studies.upgrades.run --datasets sample --seeds 0 --out runs/tiny.json --runs runs/tiny
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.rows import Row, Rows
from benchmarks.studies.upgrades.plans import PLANS
from benchmarks.studies.upgrades.report import write_report
from benchmarks.studies.upgrades.study import Study

HERE = Path(__file__).parent


def run_study(name: str, seed: int, root: str | None, runs: Path, only: list[str] | None, done: set[str]) -> list[Row]:
    """Computes the rows that are missing, in a worker process; each is kept in the study's folder at once."""
    torch.set_num_threads(1)
    study = Study(name, seed, root, runs)
    kept = Rows(study.folder / "rows.json", "name")
    for job, compute in study.jobs():
        if job not in done and (job,) not in kept and (only is None or job in only):
            kept.add([{"dataset": name, "seed": seed, "name": job} | compute()])
            print(f"{name} seed {seed}: {job}", flush=True)
    return kept.rows


def run_all(options: argparse.Namespace) -> None:
    """Runs every study, several at a time, and adds what they found to the results."""
    results = Rows(options.out, "dataset", "seed", "name")
    results.facts["torch"] = torch.__version__
    tasks = [(name, seed) for seed in options.seeds for name in options.datasets]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        studies = [
            pool.submit(
                run_study,
                name,
                seed,
                options.root,
                options.runs,
                options.only,
                {row["name"] for row in results.rows if (row["dataset"], row["seed"]) == (name, seed)},
            )
            for name, seed in tasks
        ]
        for study in studies:
            results.add(study.result())


def main() -> None:
    """Runs what is missing, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the RUN folders")
    parser.add_argument("--datasets", nargs="+", choices=PLANS, default=["kanji", "fashion-mnist"])
    parser.add_argument("--only", nargs="+", help="these rows alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="studies at a time, one thread each")
    parser.add_argument("--out", type=Path, default=HERE / "upgrades.json")
    parser.add_argument("--report", action="store_true", help="only write the tables from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text()), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
