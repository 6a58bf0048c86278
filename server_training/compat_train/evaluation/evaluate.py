"""Accuracy of a heterogeneous search system beside its two homogeneous ends.

M(q, g) is the accuracy when the query model embeds the queries and the gallery model the gallery. A query model is
*compatible* when M(q, g) > M(q, q): otherwise one would embed the gallery with the small model too, and save work.

Source: Compatibility-aware Heterogeneous Visual Search, section 3.1, https://arxiv.org/abs/2105.06047

A new gallery model is held to another rule, M(new, old) > M(old, old): its queries must do better in the old gallery
than the old model's, or nobody would deploy it before the gallery is embedded again. That it does better still in a
gallery of its own, M(new, new), is what it was trained for, and no fault.

Source: Darwinian Model Upgrades (DMU), https://arxiv.org/abs/2210.06954, Eq. 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Trust
from compat_sdk.certificate import NEW_MODEL_RULE, QUERY_RULE
from compat_sdk.datasets import Dataset, Split, own_rows, require_consistent, require_labels
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics import (
    CostCurve,
    PerQuery,
    RetrievalScores,
    cost_curve,
    paired_difference,
    score_queries,
    summarise,
)
from compat_sdk.progress import Progress
from compat_sdk.shown import escaped
from compat_sdk.space import Embeddings, may_search
from compat_train.data.pixels import decode_split
from compat_train.device import torch_threads
from compat_train.evaluation.embedding_model import Model, open_model
from compat_train.evaluation.examples import Example, examples_of, milliseconds

__all__ = ["Evaluation", "Model", "embed_split", "evaluate", "evaluate_each", "open_model"]


_PAIRS = ("query_query", "query_gallery", "gallery_gallery")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The three accuracies of a query model and a gallery model on one dataset, and what follows from them.

    Attributes:
        query_query: M(q, q): the query model embeds everything.
        query_gallery: M(q, g): the heterogeneous system.
        gallery_gallery: M(g, g): the gallery model embeds everything, the paragon.
        rule: Top-1 difference M(q, g) - M(q, q), and its 95 % paired bootstrap interval, as fractions; of a new
            gallery model M(new, old) - M(old, old).
        rule_applied: The rule: `QUERY_RULE`, or `NEW_MODEL_RULE` where the model that asks is a gallery model that
            declares the other's space.
        declared: Whether the query model declares that it may search the gallery model's space. The accuracy across
            undeclared spaces is measured all the same; a search would be refused.
        queries: Queries scored.
        gallery_size: Images in the gallery.
        skipped: Queries left out because the gallery holds no image of their label.
        query_mmacs: Cost of embedding one image with the query model, in MMACs; None where only its vectors are known.
        gallery_mmacs: Cost of embedding one image with the gallery model, the same.
        query_space: Space of the query model.
        gallery_space: Space of the gallery model.
        query_name: Name of the query model.
        gallery_name: Name of the gallery model.
        own: Queries whose own picture stands in the gallery; it is left out of their rankings.
        copies: Queries of which the gallery holds further copies. Those count, and are easily found.
        per_query: Rank and average precision of each scored query under the keys ``query_query``, ``query_gallery``,
            ``gallery_gallery``, in one order, for paired comparisons with other systems on the same dataset.
        examples: A few queries with what they find, where they were asked for.
        query_ms: Median time of the query model for one decoded image, in milliseconds, where examples were asked for.
        gallery_ms: The same of the gallery model.
    """

    query_query: RetrievalScores
    query_gallery: RetrievalScores
    gallery_gallery: RetrievalScores
    rule: tuple[float, float, float]
    declared: bool
    queries: int
    gallery_size: int
    skipped: int
    query_mmacs: float | None
    gallery_mmacs: float | None
    query_space: str
    gallery_space: str
    query_name: str
    gallery_name: str
    own: int
    copies: int
    per_query: Mapping[str, PerQuery] = field(repr=False)
    rule_applied: str = QUERY_RULE
    examples: tuple[Example, ...] = field(default=(), repr=False)
    query_ms: float | None = None
    gallery_ms: float | None = None

    @property
    def alone(self) -> RetrievalScores:
        """What M(q, g) must exceed: M(q, q), or M(old, old) for a new gallery model."""
        return self.query_query if self.rule_applied == QUERY_RULE else self.gallery_gallery

    @property
    def compatible(self) -> bool:
        """Whether the rule that applies holds at top-1. Whether by more than chance, ``rule`` says."""
        return self.query_gallery.cmc[1] > self.alone.cmc[1]

    @property
    def rule_text(self) -> str:
        """The rule with its two accuracies at top-1, in percent."""
        whose = "a query model" if self.rule_applied == QUERY_RULE else "a new gallery model"
        across, alone = 100 * self.query_gallery.cmc[1], 100 * self.alone.cmc[1]
        return f"{self.rule_applied} (of {whose}): {across:.1f} % against {alone:.1f} %"

    @property
    def amortised(self) -> CostCurve | None:
        """Mean cost per embedded image against queries per gallery image, Fig. 3b; None where a cost is not known."""
        if self.query_mmacs is None or self.gallery_mmacs is None:
            return None
        return cost_curve(self.query_mmacs, self.gallery_mmacs)

    def to_json(self) -> dict[str, object]:
        """JSON values; accuracies are fractions in [0, 1]."""
        return {
            **{pair: getattr(self, pair).to_json() for pair in _PAIRS},
            "compatible": self.compatible,
            "rule": dict(zip(("difference", "lo", "hi"), self.rule, strict=True)),
            "rule_applied": self.rule_applied,
            "declared": self.declared,
            "queries": self.queries,
            "skipped": self.skipped,
            "gallery_size": self.gallery_size,
            "own_images_left_out": self.own,
            "queries_with_copies": self.copies,
            "query_space": self.query_space,
            "gallery_space": self.gallery_space,
            "query_model": self.query_name,
            "gallery_model": self.gallery_name,
            "query_mmacs": self.query_mmacs,
            "gallery_mmacs": self.gallery_mmacs,
            "amortised_mmacs": None if self.amortised is None else self.amortised.to_json(),
        }

    def table(self) -> str:
        """Plain text: percentages with 95 % intervals, the rule and the costs."""
        lines = [f"{'percent':10}{'top-1 [95 %]':22}{'top-5':>8}{'top-10':>8}{'mAP [95 %]':>22}"]
        for pair, name in zip(_PAIRS, ("M(q,q)", "M(q,g)", "M(g,g)"), strict=True):
            scores: RetrievalScores = getattr(self, pair)
            lines.append(
                f"{name:10}{_percent(scores.cmc[1], scores.ci95['1']):22}{100 * scores.cmc[5]:8.1f}"
                f"{100 * scores.cmc[10]:8.1f}{_percent(scores.map, scores.ci95['map']):>22}"
            )
        difference, low, high = (100 * value for value in self.rule)
        lines.append(
            f"rule {self.rule_applied} {'holds' if self.compatible else 'does not hold'}: {difference:+.1f} points, "
            f"95 % interval [{low:+.1f}, {high:+.1f}]"
        )
        lines.append(
            f"{self.queries} queries ({self.skipped} more have no image of their label in the gallery), "
            f"gallery of {self.gallery_size} images"
        )
        lines.append(
            escaped(
                f"query model {self.query_name}, {_cost(self.query_mmacs)}; "
                f"gallery model {self.gallery_name}, {_cost(self.gallery_mmacs)}"
            )
        )
        lines.extend(overlap_lines(self.own, self.copies))
        if not self.declared:
            lines.append("the query model does not declare this gallery's space: a search would be refused")
        return "\n".join(lines)


def evaluate(
    dataset: Dataset,
    query: str | Path,
    gallery: str | Path,
    *,
    memory_mib: float = 256,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    trust: Trust | None = None,
    examples: bool = False,
) -> Evaluation:
    """M(q, q), M(q, g) and M(g, g) on a dataset's query and gallery splits.

    Each model embeds each split once. Accuracy is exact whatever the budget.

    Args:
        dataset: With the splits ``query`` and ``gallery``.
        query: RUN or BUNDLE folder of the query model.
        gallery: RUN or BUNDLE folder of the gallery model.
        memory_mib: Bound on decoded images and on scores held at a time, in MiB. The embeddings, 4 bytes per image and
            dimension for each model, and the activations of one batch come on top.
        device: Where a RUN is evaluated: auto, cpu or cuda. A BUNDLE runs on its engine.
        threads: CPU threads for decoding and inference; None takes one per core.
        progress: Called with a stage, how much of it is done, its total, and figures.
        trust: Whose signature both models must have; None for no matter whose.
        examples: Also say what a few queries find, and how long one image takes.

    Raises:
        DataError: A split is missing or empty, an image cannot be read, or no query has a match in the gallery.
        BundleError: A bundle is damaged, or not signed as is asked for.
        ConfigError: The models differ in dimension, or a path is neither a RUN nor a BUNDLE.
    """
    queries = evaluate_each(
        dataset,
        [query],
        gallery,
        memory_mib=memory_mib,
        device=device,
        threads=threads,
        progress=progress,
        trust=trust,
        examples=examples,
    )
    return next(queries)


def evaluate_each(
    dataset: Dataset,
    queries: Iterable[str | Path],
    gallery: str | Path,
    *,
    memory_mib: float = 256,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    trust: Trust | None = None,
    examples: bool = False,
) -> Iterator[Evaluation]:
    """As `evaluate`, for several query models of one gallery model, which embeds and is ranked once.

    Yields one `Evaluation` per entry of ``queries``, in order, each when it is done and before the next is asked for.
    """
    splits = {name: filled_split(dataset, name) for name in ("query", "gallery")}
    own_images, copies = own_rows(splits["query"], splits["gallery"])
    gallery_model = open_model(gallery, device=device, threads=threads, trust=trust)
    of_gallery: dict[str, Embeddings] = {}
    paragon: PerQuery | None = None

    def ranked(of_queries: Embeddings, of_images: Embeddings) -> PerQuery:
        return score_queries(
            of_queries.vectors,
            splits["query"].labels,
            of_images.vectors,
            splits["gallery"].labels,
            memory_mib=memory_mib,
            exclude_self=own_images,
        )

    for query in queries:
        same = Path(query).resolve() == Path(gallery).resolve()
        query_model = gallery_model if same else open_model(query, device=device, threads=threads, trust=trust)
        if query_model.dim != gallery_model.dim:
            raise ConfigError(
                f"{query_model.name} gives {query_model.dim} dimensions and {gallery_model.name} {gallery_model.dim}; "
                f"only models of one dimension can search each other's galleries"
            )
        # The first time both models embed together, so that images are decoded once.
        models = [query_model] * (not same) + [gallery_model] * (not of_gallery)
        of_query: dict[str, Embeddings] = {}
        with torch_threads(threads):
            for name, split in splits.items():
                found = embed_split(models, split, memory_mib=memory_mib, threads=threads, progress=progress)
                of_gallery.setdefault(name, found[-1])
                of_query[name] = of_gallery[name] if same else found[0]
        if paragon is None:
            paragon = ranked(of_gallery["query"], of_gallery["gallery"])
        own = paragon if same else ranked(of_query["query"], of_query["gallery"])
        across = paragon if same else ranked(of_query["query"], of_gallery["gallery"])
        if progress is not None:
            progress("rank", len(_PAIRS), len(_PAIRS), {})
        new_model = query_model.role == "gallery" and gallery_model.space in query_model.searches
        per_query = dict(zip(_PAIRS, (own, across, paragon), strict=True))
        shown: tuple[Example, ...] = ()
        times: dict[str, float | None] = {}
        if examples:
            shown = examples_of(dataset, of_query["query"], of_gallery["gallery"], own_images)
            rows = [example.row for example in shown]
            for role, model in (("query", query_model), ("gallery", gallery_model)):
                times[role] = milliseconds(model, dataset, rows)
        yield Evaluation(
            examples=shown,
            query_ms=times.get("query"),
            gallery_ms=times.get("gallery"),
            **{pair: summarise(found) for pair, found in per_query.items()},
            rule=paired_difference(across.hits(1), (paragon if new_model else own).hits(1)),
            rule_applied=NEW_MODEL_RULE if new_model else QUERY_RULE,
            declared=may_search(query_model.space, query_model.searches, gallery_model.space),
            queries=len(across),
            gallery_size=across.gallery_size,
            skipped=across.skipped,
            query_mmacs=query_model.mmacs,
            gallery_mmacs=gallery_model.mmacs,
            query_space=query_model.space,
            gallery_space=gallery_model.space,
            query_name=query_model.name,
            gallery_name=gallery_model.name,
            own=int((own_images >= 0).sum()),
            copies=copies,
            per_query=per_query,
        )


def embed_split(
    models: Sequence[Model],
    split: Split,
    *,
    memory_mib: float = 256,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Embeddings]:
    """Embeddings of a split by each model; models with the same preprocessing share one decoding.

    Args:
        models: At least one.
        split: Images from disk or an array.
        memory_mib: Bound on decoded images held at a time, in MiB; at least one image is.
        threads: Threads that decode; None takes one per core.
        progress: Called after each block of images.

    Returns:
        One `Embeddings` per model, rows in the split's order.

    Raises:
        DataError: An image cannot be read.
    """
    wanted = list(dict.fromkeys(model.preprocessing for model in models if model.stored is None))
    # The block exists twice while it is assembled.
    largest = max((3 * preprocessing.size**2 for preprocessing in wanted), default=1024)
    block = max(1, int(memory_mib * 2**20 / 2 / largest))
    rows: list[list[NDArray[np.float32]]] = [[] for _ in models]
    for start in range(0, len(split), block):
        part = dataclasses.replace(
            split,
            images=split.images[start : start + block],
            labels=split.labels[start : start + block],
            ids=split.ids[start : start + block],
        )
        for preprocessing in wanted:
            pixels = decode_split(part, preprocessing, threads=threads).images
            for model, found in zip(models, rows, strict=True):
                if model.stored is None and model.preprocessing == preprocessing:
                    found.append(model.embed(pixels))
        for model, found in zip(models, rows, strict=True):
            if model.stored is not None:
                found.append(model.stored(part.ids))
        if progress is not None:
            progress(f"embed {split.name}", min(start + block, len(split)), len(split), {})
    return [
        Embeddings(np.concatenate(found), model.space, model.searches)
        for model, found in zip(models, rows, strict=True)
    ]


def filled_split(dataset: Dataset, name: str) -> Split:
    """A split that evaluation needs.

    Raises:
        DataError: It is missing or empty, lists an image twice, or its images have no labels.
    """
    split = dataset.splits.get(name)
    if split is None or not len(split):
        sizes = ", ".join(f"{other} {len(images)}" for other, images in dataset.splits.items()) or "none"
        raise DataError(
            f"dataset {dataset.name} has no images in its split '{name}' (images per split: {sizes}); evaluation "
            f"needs the splits query and gallery"
        )
    require_consistent(split)
    require_labels(split, dataset.name, "evaluation")
    return split


def overlap_lines(own: int, copies: int) -> list[str]:
    """What a table says of queries that stand in the gallery themselves: nothing where none does."""
    lines = []
    if own:
        lines.append(f"{own} queries are the same image as one of the gallery, which was left out of their ranking")
    if copies:
        lines.append(f"warning: the gallery holds further copies of {copies} queries; scores with them are too good")
    return lines


def _cost(mmacs: float | None) -> str:
    return "cost not known" if mmacs is None else f"{mmacs:.1f} MMACs"


def _percent(value: float, interval: tuple[float, float]) -> str:
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
