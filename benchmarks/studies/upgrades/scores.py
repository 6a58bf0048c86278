"""Embeddings of the test splits by each run, and what is kept of a pair of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pages import packed
from benchmarks.studies.upgrades.runs import Runs
from compat_sdk.metrics import score_queries
from compat_train.evaluation.cka import linear_cka
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.transform_model import open_transform

Vectors = NDArray[np.float32]


class Scores:
    """Scores of one dataset and seed; embeddings are kept beside the runs that gave them."""

    def __init__(self, runs: Runs) -> None:
        """Embeds nothing yet."""
        self._runs = runs

    def embedded(self, run: Path) -> tuple[Vectors, Vectors]:
        """Embeddings of the queries and of the gallery by one model, computed once."""
        found = []
        for split in ("query", "gallery"):
            path = run / f"upgrades-{split}.npy"
            if not path.is_file():
                partial = path.with_suffix(".partial.npy")
                np.save(partial, open_model(run).embed(self._runs.pixels(split)))
                partial.replace(path)
            found.append(np.load(path))
        return found[0], found[1]

    def score(self, query: Vectors, gallery: Vectors) -> dict[str, Any]:
        """Top-1, mAP and hits of one pair of models."""
        labels = [self._runs.dataset.splits[split].labels for split in ("query", "gallery")]
        scored = score_queries(query, labels[0], gallery, labels[1])
        hits = scored.hits(1)
        mean = float(np.mean(scored.average_precision))
        return {"top1": float(hits.mean()), "map": mean, "queries": len(hits), "hits": packed(hits > 0)}

    def upgraded(self, run: Path, old: Path | tuple[Vectors, ...], side: Path | tuple[Vectors, ...] | None) -> Any:
        """Transformed embeddings of the queries and of the gallery."""
        of_old = self.embedded(old) if isinstance(old, Path) else old
        of_side = (None, None) if side is None else self.embedded(side) if isinstance(side, Path) else side
        apply = open_transform(run).apply
        return tuple(apply(*pair) for pair in zip(of_old, of_side, strict=True))

    def row(self, vectors: tuple[Vectors, ...], new: Path, side: Path | None = None) -> dict[str, Any]:
        """Everything that is kept of one upgraded gallery."""
        of_new, transformed = self.embedded(new), vectors[1]
        found: dict[str, Any] = {
            "new_transformed": self.score(of_new[0], transformed),
            "transformed_transformed": self.score(*vectors),
            "cosine": float(np.einsum("ij,ij->i", transformed, of_new[1]).mean()),
            "cka_new": linear_cka(transformed, of_new[1]),
        }
        if side is not None:
            found["cka_side_old"] = linear_cka(self.embedded(side)[1], self.embedded(self._runs.model("old"))[1])
        return found
