"""Evaluations run: each split embedded once by each model, ranked exactly, and held to the rule; see `result`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from compat_sdk.bundle import Trust
from compat_sdk.certificate import NEW_MODEL_RULE, QUERY_RULE
from compat_sdk.datasets import Dataset, own_rows
from compat_sdk.errors import ConfigError
from compat_sdk.metrics import Metric, paired_difference
from compat_sdk.progress import Progress
from compat_sdk.space import Embeddings, may_search
from compat_train.device import torch_threads
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.examples import Example, examples_of, milliseconds
from compat_train.evaluation.judged import Judged, judge
from compat_train.evaluation.result import PAIRS, Evaluation
from compat_train.evaluation.splits import embed_split, filled_split


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
    metric: Metric | None = None,
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
        metric: The accuracy that the rule compares; top-1 if not given.

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
        metric=metric,
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
    metric: Metric | None = None,
) -> Iterator[Evaluation]:
    """As `evaluate`, for several query models of one gallery model, which embeds and is ranked once.

    Yields one `Evaluation` per entry of ``queries``, in order, each when it is done and before the next is asked for.
    """
    splits = {name: filled_split(dataset, name) for name in ("query", "gallery")}
    own_images, copies = own_rows(splits["query"], splits["gallery"])
    gallery_model = open_model(gallery, device=device, threads=threads, trust=trust)
    of_gallery: dict[str, Embeddings] = {}
    paragon: Judged | None = None

    def judged(of_queries: Embeddings, of_images: Embeddings) -> Judged:
        return judge(
            metric or Metric(),
            of_queries.vectors,
            of_images.vectors,
            dataset,
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
            paragon = judged(of_gallery["query"], of_gallery["gallery"])
        own = paragon if same else judged(of_query["query"], of_query["gallery"])
        across = paragon if same else judged(of_query["query"], of_gallery["gallery"])
        if progress is not None:
            progress("rank", len(PAIRS), len(PAIRS), {})
        new_model = query_model.role == "gallery" and gallery_model.space in query_model.searches
        sides = dict(zip(PAIRS, (own, across, paragon), strict=True))
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
            **{pair: found.scores for pair, found in sides.items()},
            rule=paired_difference(across.values, (paragon if new_model else own).values),
            rule_applied=NEW_MODEL_RULE if new_model else QUERY_RULE,
            declared=may_search(query_model.space, query_model.searches, gallery_model.space),
            queries=len(across.ranked),
            gallery_size=across.ranked.gallery_size,
            skipped=across.ranked.skipped,
            query_mmacs=query_model.mmacs,
            gallery_mmacs=gallery_model.mmacs,
            query_space=query_model.space,
            gallery_space=gallery_model.space,
            query_name=query_model.name,
            gallery_name=gallery_model.name,
            own=int((own_images >= 0).sum()),
            copies=copies,
            per_query={pair: found.ranked for pair, found in sides.items()},
        )
