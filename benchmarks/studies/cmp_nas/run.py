"""CMP-NAS on kanji: what the search, its rewards and its training methods are worth.

Everything is trained against the gallery models of kanji_compatibility (ResNet-18, width 0.1875, 64 px, 33.5
MMACs), one per seed. Budgets are its multiply-accumulates divided by the ratios that the paper's tiers have to
ResNet-101: 23, 35 and 80. Rows go to cmp_nas.json as they come; finished ones are not computed again.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.studies.cmp_nas.run --root data/kanji --workers 2          # hours on two cores; resumable
    python -m benchmarks.studies.cmp_nas.run --report                               # cmp_nas.md from the rows
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.kanji_compatibility import gallery_config
from benchmarks.pages import packed
from benchmarks.rows import Row, Rows
from benchmarks.studies.cmp_nas.jobs import Job, jobs_of_seed, trained_already
from benchmarks.studies.cmp_nas.networks import gallery_vectors, pixels_of, run_job
from benchmarks.studies.cmp_nas.report import write_report
from benchmarks.studies.cmp_nas.search import search_of, supernet_of
from compat_train.methods.gallery import train_gallery

HERE = Path(__file__).parent


def run_all(options: argparse.Namespace) -> None:
    """Computes whatever has no row yet, most telling rows first; searches and networks that need none run together."""
    root, runs, seeds = options.root, options.runs, options.seeds
    results = Rows(options.out, "name", "seed")
    searches: list[Row] = results.facts.setdefault("searches", [])
    for seed in seeds:
        train_gallery(gallery_config(root, seed), runs / "kanji" / f"gallery-{seed}")
    for data, split in (("kanji-500", "train"), ("kanji", "train"), ("kanji-500", "query"), ("kanji-500", "gallery")):
        pixels_of(root, runs, data, split)
    for seed in seeds:
        gallery_vectors(str(runs / "kanji" / f"gallery-{seed}"), root, runs)
    results.facts["paragon"] = {
        str(seed): packed(np.load(runs / "kanji" / f"gallery-{seed}" / "benchmark-hits.npy") > 0) for seed in seeds
    }
    searched = {found["seed"] for found in searches}
    missing = [seed for seed in seeds if seed not in searched]

    def jobs(of: list[int], *, independent: bool) -> list[tuple[int, int, Job]]:
        """Jobs of some seeds by priority: those that need no search, or the others."""
        found = [
            (priority, seed, job)
            for seed in of
            for priority, job in jobs_of_seed(root, runs, seed, searches)
            if (job.name, seed) not in results and priority <= options.most and (priority < 2) == independent
        ]
        return sorted(found, key=lambda entry: entry[:2])

    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        supernets = [
            pool.submit(supernet_of, root, runs, seed, vanilla) for seed in missing for vanilla in (False, True)
        ]
        for future in supernets:
            future.result()
        running: dict[Future[Any], Job | None] = {pool.submit(search_of, root, runs, seed): None for seed in missing}
        coming = jobs(seeds, independent=True)
        if not missing:
            coming = sorted(coming + jobs(seeds, independent=False), key=lambda entry: entry[:2])
        while running or coming:
            while coming and len(running) < options.workers + 1:
                job = coming.pop(0)[2]
                same = trained_already(job, results.rows)
                if same is not None:
                    results.add([same | {"name": job.name} | job.about])
                    continue
                running[pool.submit(run_job, job, root, runs)] = job
            if not running:
                continue
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                job_done = running.pop(done)
                if job_done is None:
                    searches += done.result()
                    results.write()
                    if not any(job is None for job in running.values()):
                        coming = sorted(coming + jobs(seeds, independent=False), key=lambda entry: entry[:2])
                    print("a search is done", flush=True)
                else:
                    row = done.result()
                    results.add([row])
                    print(f"{row['name']} {row['seed']}: {row['own']:.3f} {row['across']:.3f}", flush=True)
        results.write()


def main() -> None:
    """Runs what is missing, or writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the RUN folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="networks trained at a time, one thread each")
    parser.add_argument("--most", type=int, default=99, help="leave out jobs of a later priority than this")
    parser.add_argument("--out", type=Path, default=HERE / "cmp_nas.json")
    parser.add_argument("--report", action="store_true", help="only write cmp_nas.md and its plots from the rows")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    write_report(json.loads(options.out.read_text()), options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
