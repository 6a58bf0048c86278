"""Galleries of unseen kanji, hard and easy, and what one pair of models finds in them, identity by identity."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, Split, open_dataset
from compat_sdk.datasets.kanji_hard import DRAWS
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.metrics import score_queries
from compat_sdk.metrics.identification import best_scores, identify, split_galleries
from compat_train.data.pixels import decode_split
from compat_train.evaluation.embedding_model import Model

GALLERIES = ("hard 1", "print 1", "print 23")
"""Kinds of galleries: one brush, pen or display image of each character; one print image; all print images."""
METRICS = ("top-1", "mAP", "TPIR")
FPIR = 0.1
Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Search:
    """Rows of one draw: which images ask, and which are searched.

    Attributes:
        queries: Rows of the unseen images in query faces.
        gallery: Rows of the images of ``side``.
        side: ``"unseen"`` for query faces, ``"print"`` for print faces.
    """

    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    side: str


@dataclass(frozen=True)
class UnseenImages:
    """Every image of the unseen characters, and the draws of each kind of gallery.

    Attributes:
        splits: ``unseen`` and ``print``.
        searches: By kind of gallery, one per draw.
    """

    splits: Mapping[str, Split]
    searches: Mapping[str, Sequence[Search]]

    @classmethod
    def of(cls, root: Path) -> UnseenImages:
        """Opens a built set."""
        hard = [open_dataset(name, root) for name in DRAWS]
        unseen, printed = _both(hard[0]), open_dataset("kanji", root).splits["gallery"]
        place = {name: row for row, name in enumerate(unseen.ids)}
        searches: dict[str, list[Search]] = {name: [] for name in GALLERIES}
        for draw, dataset in enumerate(hard):
            asking, stored = (
                np.array([place[key] for key in dataset.splits[name].ids]) for name in ("query", "gallery")
            )
            searches["hard 1"].append(Search(asking, stored, "unseen"))
            searches["print 1"].append(Search(asking, _one_of_each(printed, draw), "print"))
        searches["print 23"].append(Search(searches["hard 1"][0].queries, np.arange(len(printed)), "print"))
        return cls({"unseen": unseen, "print": printed}, searches)

    def embedded(self, model: Model, kinds: Sequence[str] = GALLERIES) -> Vectors:
        """Every image by a model that these kinds of galleries ask for."""
        wanted = {"unseen"} | {search.side for kind in kinds for search in self.searches[kind]}
        return {
            name: model.embed(decode_split(split, model.preprocessing, threads=1).images)
            for name, split in self.splits.items()
            if name in wanted
        }


@dataclass(frozen=True)
class Scores:
    """What a query model finds in one kind of gallery.

    Attributes:
        by_draw: By metric, the mean over the queries of each draw.
        by_identity: By metric, the mean over draws and queries of each identity, ``[identities]``.
    """

    by_draw: Mapping[str, Sequence[float]]
    by_identity: Mapping[str, NDArray[np.float64]]

    def to_json(self) -> dict[str, Any]:
        """Figures of the draws, and those of the identities as base64 float16."""
        return {
            "draws": {name: [round(value, 6) for value in values] for name, values in self.by_draw.items()},
            "identities": {
                name: base64.b64encode(values.astype("<f2").tobytes()).decode()
                for name, values in self.by_identity.items()
            },
        }


def scores_of(images: UnseenImages, kind: str, asking: Vectors, stored: Vectors) -> Scores:
    """Scores of queries by one model in a gallery by another, or by the same, over the draws of a kind of gallery."""
    identities = {label: number for number, label in enumerate(sorted(set(images.splits["unseen"].labels)))}
    draws: dict[str, list[float]] = {}
    sums: dict[str, list[NDArray[np.float64]]] = {}
    for search in images.searches[kind]:
        labels = [images.splits["unseen"].labels[row] for row in search.queries]
        of_gallery = [images.splits[search.side].labels[row] for row in search.gallery]
        sides = asking["unseen"][search.queries], labels, stored[search.side][search.gallery], of_gallery
        ranked = score_queries(*sides)
        found = {"top-1": ranked.hits(1), "mAP": ranked.average_precision}
        if kind == "hard 1":
            found["TPIR"] = _identified(*sides)
        codes = np.array([identities[label] for label in labels])
        for name, values in found.items():
            draws.setdefault(name, []).append(float(values.mean()))
            counts = np.bincount(codes, minlength=len(identities))
            sums.setdefault(name, []).append(np.bincount(codes, values, len(identities)) / counts)
    return Scores(draws, {name: np.mean(values, axis=0) for name, values in sums.items()})


def values_of(scores: Mapping[str, Any], metric: str) -> NDArray[np.float64]:
    """Figures of the identities from the JSON of `Scores`."""
    return np.frombuffer(base64.b64decode(scores["identities"][metric]), "<f2").astype(np.float64)


def _identified(
    asking: NDArray[np.float32], labels: Sequence[str], stored: NDArray[np.float32], of_gallery: Sequence[str]
) -> NDArray[np.float64]:
    """1.0 for each query that is found at FPIR 0.1, in the half of the gallery that has its identity."""
    hits = np.zeros(len(labels))
    for rows in split_galleries(of_gallery):
        found = best_scores(asking, labels, stored[rows], [of_gallery[row] for row in rows])
        hits[found.mated] = identify(found, FPIR).hits
    return hits


def _both(dataset: Dataset) -> Split:
    """Query and gallery of a draw as one split."""
    parts = [dataset.splits[name] for name in ("query", "gallery")]
    return Split(
        name="query",
        images=np.concatenate([np.asarray(part.images) for part in parts]),
        labels=parts[0].labels + parts[1].labels,
        ids=parts[0].ids + parts[1].ids,
    )


def _one_of_each(split: Split, draw: int) -> NDArray[np.int64]:
    """A row of each label: the first in the order of a draw."""
    place = {name: row for row, name in enumerate(split.ids)}
    first: dict[str, int] = {}
    for name in shuffled(split.ids, draw):
        first.setdefault(split.labels[place[name]], place[name])
    return np.array(sorted(first.values()))


def hard_options(text: str | None, out: Path) -> argparse.ArgumentParser:
    """The command line of an experiment on kanji-hard: its data, the RUN folders it shares, its seeds and its rows.

    Args:
        text: What the script measures.
        out: File of its rows, beside its page.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji", help="folder of the built kanji set")
    parser.add_argument("--runs", type=Path, default=Path("runs/kanji-hard"), help="folder of kanji_hard's RUN folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--report", action="store_true", help="only write the page from the rows")
    return parser
