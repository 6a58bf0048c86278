"""CMP-NAS on kanji: what the search, its rewards and its training methods are worth.

Everything is trained against the gallery models of kanji_compatibility.py (ResNet-18, width 0.1875, 64 px, 33.5
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
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.kanji_compatibility import gallery_config
from benchmarks.pages import packed
from benchmarks.studies.cmp_nas.report import write_report
from compat_sdk.datasets import open_dataset
from compat_sdk.files import write_json_atomic
from compat_sdk.metrics import score_queries
from compat_train.config.training import Execution, Optimisation, QueryConfig, Source
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet
from compat_train.evaluation.evaluate import open_model
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.nas.cmp.config import TABLE_5, CmpConfig, SearchConfig, SupernetConfig, ValidationConfig
from compat_train.nas.cmp.run import prepare, search_tiers
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.runs.checkpoint import Checkpoint

HERE = Path(__file__).parent
SPACE = "shuffle,stem=4,channels=12-32-64-128,repeats=2-2-4-2,last=128"
TIERS = {23: 1.45, 35: 0.95, 80: 0.42}  # gallery MMACs over query MMACs: MMACs
MAIN = 0.95  # the tier at which rewards and static networks are compared
FIG4 = (0.60, 0.65)  # MMACs of the random members of Fig. 4
SCHEDULE = Optimisation(epochs=2, batch=64, lr=0.3, weight_decay=1e-4, warmup_epochs=0.5)
SEARCH = SearchConfig(population=20, parents=6, crossovers=8, mutations=8, rounds=6)


@dataclass(frozen=True)
class Job:
    """One network to train and evaluate: a row of the results."""

    name: str
    seed: int
    config: QueryConfig
    about: dict[str, Any]


def search_config(root: str, runs: Path, seed: int, *, reward: str = "r3", vanilla: bool = False) -> CmpConfig:
    """The search of one seed; only what differs between variants is an argument."""
    return CmpConfig(
        source=Source(data="kanji-500", root=root),
        gallery=str(runs / "kanji" / f"gallery-{seed}"),
        mmacs=tuple(TIERS.values()) if reward == "r3" and not vanilla else (MAIN,),
        reward=reward,  # type: ignore[arg-type]  # checked on construction
        space=SPACE,
        stem_stride=2,
        supernet=SupernetConfig(
            optimisation=replace(SCHEDULE, epochs=4, lr=0.4),
            method="vanilla" if vanilla else None,
            operation_warmup=0.15,
            channel_warmup=0.5,
        ),
        search=replace(SEARCH, seed=seed),
        validation=ValidationConfig(queries=1000, gallery=1500, calibration=1024),
        retrain=SCHEDULE,
        static=(),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
    )


def supernet_of(root: str, runs: Path, seed: int, vanilla: bool) -> None:
    """Trains one supernet, with the widest budget so that all searches of its kind can use it."""
    config = replace(search_config(root, runs, seed, vanilla=vanilla), mmacs=tuple(TIERS.values()))
    folder = folder_of(runs, seed, vanilla)
    prepared = prepare(config, folder)
    train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")


def folder_of(runs: Path, seed: int, vanilla: bool) -> Path:
    """Where one supernet, its validation arrays and its scores are."""
    return runs / "cmp" / f"{'vanilla' if vanilla else 'bct'}-{seed}"


def search_of(root: str, runs: Path, seed: int) -> list[dict[str, Any]]:
    """All searches of one seed: what each found, best first. Scores are remembered, so a repetition is quick."""
    found = []
    for vanilla, reward, strategy in (
        (False, "r3", "evolution"),
        (False, "r2", "evolution"),
        (False, "r1", "evolution"),
        (True, "r1", "evolution"),
        (False, "r3", "random"),
    ):
        folder = folder_of(runs, seed, vanilla)
        config = replace(search_config(root, runs, seed, reward=reward, vanilla=vanilla), mmacs=tuple(TIERS.values()))
        prepared = prepare(config, folder)
        weights = train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")
        wide = reward == "r3" and strategy == "evolution"
        config = replace(
            config,
            mmacs=tuple(TIERS.values()) if wide else (MAIN,),
            search=replace(config.search, strategy=strategy),  # type: ignore[arg-type]
        )
        tiers = search_tiers(config, prepared, weights, folder)
        for budget, ranked in tiers.items():
            found.append(
                {
                    "variant": "vanilla-nas" if vanilla else reward if strategy == "evolution" else "random",
                    "seed": seed,
                    "budget": budget,
                    "best": [
                        {"arch": entry.member.name, "reward": entry.reward, "mmacs": entry.mmacs}
                        for entry in ranked[:5]
                    ],
                }
            )
    return found


def jobs_of_seed(root: str, runs: Path, seed: int, searches: list[dict[str, Any]]) -> Iterator[tuple[int, Job]]:
    """Every network of a seed, each with its priority: lower is trained earlier."""
    base = search_config(root, runs, seed)
    for arch, width in static_widths().items():
        yield 0, Job(f"static-{arch}", seed, base.training(arch, width=width), {"stage": "static", "width": width})
    for name, method, start in (
        ("scratch", "vanilla", "none"),
        ("kd", "kd", "none"),
        ("bct", "bct", "none"),
        ("finetune-magnitude", "finetune", "magnitude"),
        ("finetune-channel", "finetune", "channel"),
        ("bct-magnitude", "bct", "magnitude"),
        ("bct-channel", "bct", "channel"),
    ):
        config = replace(
            base.training("resnet18_pruned0.9", width=0.1875),
            method=method,  # type: ignore[arg-type]
            inherit=start,  # type: ignore[arg-type]
            stem_stride=1,
            optimisation=replace(SCHEDULE, lr=0.1),
        )
        yield 1, Job(f"pruned-{name}", seed, config, {"stage": "table4"})
    for search in (found for found in searches if found["seed"] == seed):
        # All five where rewards are compared; two of the other tiers and of random search.
        compared = search["budget"] == MAIN and search["variant"] != "random"
        for place, best in enumerate(search["best"][: 5 if compared else 2], 1):
            about = {"stage": "search", "variant": search["variant"], "budget": search["budget"], "place": place}
            about |= {"reward": best["reward"]}
            name = f"{search['variant']}-{search['budget']:g}-{place}"
            yield 2 + 2 * place, Job(name, seed, base.training(best["arch"]), about)
    for found in (found for found in searches if found["seed"] == seed and found["variant"] == "r3"):
        budget, best = found["budget"], found["best"][0]["arch"]
        remedies = {
            "regression-unlabelled": replace(
                base.training(best), method="regression", source=Source(data="kanji", root=root)
            ),
        }
        if budget == MAIN:
            remedies["regression-mixed"] = replace(base.training(best), method="regression", mixed=True)
        for name, config in remedies.items():
            about = {"stage": "remedy", "variant": name, "budget": budget}
            yield 5, Job(f"{name}-{budget:g}", seed, config, about)
    if seed == 0 and searches:
        prepared = prepare(base, folder_of(runs, seed, False))
        sampler = MemberSampler(prepared.costs)
        generator = np.random.default_rng(4)
        for number in range(40):
            member = sampler.draw(generator, *FIG4)
            for method in ("bct", "vanilla"):
                config = replace(base.training(member.name), method=method)  # type: ignore[arg-type]
                yield 9, Job(f"fig4-{method}-{number}", seed, config, {"stage": "fig4", "method": method})


def static_widths() -> dict[str, float]:
    """Width of each static network, in steps of 1/80, at which it comes closest to the main tier from below.

    Channel counts are multiples of 8, so some networks do not go that low: these take their cheapest width.
    """
    found = {}
    for arch in dict.fromkeys(name.removesuffix("_0.5") for name in TABLE_5):
        costs = {
            step / 80: count_cost(build_model(arch, dim=128, width=step / 80, stem_stride=2), 64).mmacs
            for step in range(2, 40)
        }
        fitting = [width for width, cost in costs.items() if cost <= MAIN]
        found[arch] = max(fitting, default=min(costs, key=costs.__getitem__))
    return found


def pixels_of(root: str, runs: Path, data: str, split: str, size: int = 64) -> Path:
    """A split decoded once, as an array that every process maps into memory."""
    path = runs / "cmp" / f"{data}-{split}-{size}.npy"
    if not path.is_file():
        gallery = Checkpoint.load(runs / "kanji" / "gallery-0")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, decode_split(open_dataset(data, Path(root)).splits[split], gallery.preprocessing).images)
        partial.rename(path)
    return path


def run_job(job: Job, root: str, runs: Path) -> dict[str, Any]:
    """Trains and evaluates one network; called in a worker process."""
    torch.set_num_threads(1)
    data = job.config.source.data
    dataset = open_dataset(data, Path(root))
    labels = dataset.splits["train"].labels
    classes = tuple(sorted(set(labels)))
    numbers = {name: number for number, name in enumerate(classes)}
    training = TrainingSet(
        np.load(pixels_of(root, runs, data, "train"), mmap_mode="r"),
        np.fromiter((numbers[name] for name in labels), np.int64, len(labels)),
        classes,
    )
    out = runs / "cmp" / "networks" / f"{job.name}-{job.seed}"
    before = time.process_time()
    checkpoint = train_query(job.config, out, data=training)
    seconds = time.process_time() - before
    model = open_model(out)
    of_gallery = gallery_vectors(job.config.gallery, root, runs)
    of_query = [
        model.embed(np.load(pixels_of(root, runs, "kanji-500", name), mmap_mode="r")) for name in ("query", "gallery")
    ]
    names = [dataset.splits[name].labels for name in ("query", "gallery")]
    hits = {
        "own": score_queries(of_query[0], names[0], of_query[1], names[1]).hits(1),
        "across": score_queries(of_query[0], names[0], of_gallery[1], names[1]).hits(1),
    }
    paragon = np.load(Path(job.config.gallery) / "benchmark-hits.npy")
    return {
        "name": job.name,
        "seed": job.seed,
        **job.about,
        "arch": checkpoint.arch,
        "mmacs": model.mmacs,
        "own": float(hits["own"].mean()),
        "across": float(hits["across"].mean()),
        "paragon": float(paragon.mean()),
        "hits": {side: packed(found > 0) for side, found in hits.items()},
        "train_cpu_seconds": round(seconds, 1),
    }


def gallery_vectors(gallery: str, root: str, runs: Path) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """The gallery model's embeddings of both test splits, computed once, and its own hits beside them."""
    folder = Path(gallery)
    if not (folder / "benchmark-hits.npy").is_file():
        model = open_model(folder)
        dataset = open_dataset("kanji-500", Path(root))
        vectors = []
        for name in ("query", "gallery"):
            vectors.append(model.embed(np.load(pixels_of(root, runs, "kanji-500", name), mmap_mode="r")))
            np.save(folder / f"benchmark-{name}.npy", vectors[-1])
        labels = [dataset.splits[name].labels for name in ("query", "gallery")]
        np.save(folder / "benchmark-hits.npy", score_queries(vectors[0], labels[0], vectors[1], labels[1]).hits(1))
    return [np.load(folder / f"benchmark-{name}.npy") for name in ("query", "gallery")]


def run_all(options: argparse.Namespace) -> None:
    """Computes whatever has no row yet, most telling rows first; searches and networks that need none run together."""
    root, runs, seeds = options.root, options.runs, options.seeds
    results: dict[str, Any] = (
        json.loads(options.out.read_text()) if options.out.is_file() else {"searches": [], "rows": []}
    )
    for seed in seeds:
        train_gallery(gallery_config(root, seed), runs / "kanji" / f"gallery-{seed}")
    for data, split in (("kanji-500", "train"), ("kanji", "train"), ("kanji-500", "query"), ("kanji-500", "gallery")):
        pixels_of(root, runs, data, split)
    for seed in seeds:
        gallery_vectors(str(runs / "kanji" / f"gallery-{seed}"), root, runs)
    results["paragon"] = {
        str(seed): packed(np.load(runs / "kanji" / f"gallery-{seed}" / "benchmark-hits.npy") > 0) for seed in seeds
    }
    searched = {found["seed"] for found in results["searches"]}
    missing = [seed for seed in seeds if seed not in searched]
    done = {(row["name"], row["seed"]) for row in results["rows"]}

    def jobs(of: list[int], *, independent: bool) -> list[tuple[int, int, Job]]:
        """Jobs of some seeds by priority: those that need no search, or the others."""
        found = [
            (priority, seed, job)
            for seed in of
            for priority, job in jobs_of_seed(root, runs, seed, results["searches"])
            if (job.name, seed) not in done and priority <= options.most and (priority < 2) == independent
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
                same = _trained_already(job, results["rows"])
                if same is not None:
                    results["rows"].append(same | {"name": job.name} | job.about)
                    continue
                running[pool.submit(run_job, job, root, runs)] = job
            if not running:
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job_done = running.pop(future)
                if job_done is None:
                    results["searches"] += future.result()
                    if not any(job is None for job in running.values()):
                        coming = sorted(coming + jobs(seeds, independent=False), key=lambda entry: entry[:2])
                    print("a search is done", flush=True)
                else:
                    row = future.result()
                    results["rows"].append(row)
                    print(f"{row['name']} {row['seed']}: {row['own']:.3f} {row['across']:.3f}", flush=True)
                write_json_atomic(options.out, results)
        write_json_atomic(options.out, results)


def _trained_already(job: Job, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the same network found by another search of the same seed: training it again would repeat it."""
    if job.about["stage"] != "search":
        return None
    same = (row for row in rows if row["stage"] == "search" and row["seed"] == job.seed)
    return next((row for row in same if row["arch"] == job.config.arch), None)


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
    write_report(json.loads(options.out.read_text()), HERE)


if __name__ == "__main__":
    main()
