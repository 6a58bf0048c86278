"""One network trained and judged on the test splits, with pixels and gallery vectors that all networks share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pages import packed
from benchmarks.studies.cmp_nas.jobs import Job
from compat_sdk.datasets import open_dataset
from compat_sdk.metrics import score_queries
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet
from compat_train.evaluation.embedding_model import open_model
from compat_train.methods.query import train_query
from compat_train.runs.checkpoint import Checkpoint


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
