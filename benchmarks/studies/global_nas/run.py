"""Efficient Global NAS: what it finds on Fashion-MNIST, whether its ranking is right, and R3 on kanji beside CMP-NAS.

Settings are those of recipes/global_fashion_laptop.toml and recipes/global_kanji.toml. Rows:

search          the search, and its network trained in full, on all test images
random          the recipe's random members, trained as the network of ``search`` is: what RI compares with
search-static   the search with static ranking: its macro networks have the epochs of those of ``search`` in the mean
random-equal    random members with as many parameters as the network of ``search``, within 10 %, trained alike
longer          the network of ``search`` and three of the random members trained three times as long
ranking         random members trained as static ranking, as dynamic ranking and in full do
ranking-curve   random members trained once in full; all accuracies are read off its epochs, as in the paper
whole           the network of ``search`` trained on all 60,000 training images
step            a step of a candidate against the sgemm peak of the same run; measured before anything else runs
kanji-r3        the search with R3 against the gallery models of kanji_compatibility, under the limit of the
                dearest tier of CMP-NAS
cmp             CMP-NAS for that tier, from nothing, with its CPU time; its best network is trained as those of kanji-r3
cmp-equal       the same with a supernet that is trained for as long as makes both searches of the seed cost the same,
                and random members of its space within the limit; after kanji-r3 and cmp

Rows go to global_nas.json as they come; finished rows and RUN folders are kept.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.studies.global_nas.run --root data/kanji --workers 2       # many hours on two cores; resumable
    python -m benchmarks.studies.global_nas.run --report                            # global_nas.md from the rows
    python -m benchmarks.studies.global_nas.run --datasets sample --seeds 0 1 --out runs/tiny.json --runs runs/tiny
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from benchmarks.rows import Row, Rows
from benchmarks.studies.global_nas.accuracy import AccuracyStudy
from benchmarks.studies.global_nas.query import QueryStudy
from benchmarks.studies.global_nas.report import write_report
from benchmarks.studies.global_nas.study import FASHION_ROWS, KANJI_ROWS, PLANS

HERE = Path(__file__).parent


def run_row(name: str, seed: int, row: str, known: dict[str, Row], root: str, runs: Path) -> Row:
    """Computes one row, in a worker process."""
    torch.set_num_threads(1)
    study = QueryStudy if PLANS[name].rows == KANJI_ROWS else AccuracyStudy
    return {"dataset": name, "seed": seed, "name": row} | study(name, seed, root, runs, known).row(row)


def run_all(options: argparse.Namespace) -> None:
    """Computes the rows that are missing; several studies at a time, each study's rows one after the other."""
    results = Rows(options.out, "dataset", "seed", "name")
    results.facts["torch"] = torch.__version__
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        running: dict[Future[Row], list[tuple[str, int, str]]] = {}

        def start(rows: list[tuple[str, int, str]]) -> None:
            if rows:
                of_study = [row for row in results.rows if (row["dataset"], row["seed"]) == rows[0][:2]]
                known = {row["name"]: row for row in of_study}
                running[pool.submit(run_row, *rows[0], known, options.root, options.runs)] = rows[1:]

        def collect() -> None:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rest, row = running.pop(future), future.result()
                results.add([row])
                print(f"{row['dataset']} seed {row['seed']}: {row['name']}", flush=True)
                start(rest)

        def missing(name: str, seed: int, rows: list[str]) -> list[tuple[str, int, str]]:
            wanted = [row for row in rows if options.only is None or row in options.only]
            return [(name, seed, row) for row in wanted if (name, seed, row) not in results]

        for name in options.datasets:
            start(missing(name, 0, [row for row in PLANS[name].rows if row == "step"]))
            while running:
                collect()
        for seed in options.seeds:
            for name in options.datasets:
                start(missing(name, seed, [row for row in PLANS[name].rows if row != "step"]))
        while running:
            collect()


def main() -> None:
    """Runs what is missing, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the RUN folders")
    parser.add_argument("--datasets", nargs="+", choices=PLANS, default=["fashion-mnist", "kanji"])
    parser.add_argument("--only", nargs="+", choices=(*FASHION_ROWS, *KANJI_ROWS), help="these rows alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="studies at a time, one thread each")
    parser.add_argument("--out", type=Path, default=HERE / "global_nas.json")
    parser.add_argument("--report", action="store_true", help="only write the tables from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text()), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
