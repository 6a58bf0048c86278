"""Which part of an upgraded gallery to embed again first: FastFill's order against chance and against the oracle.

An old gallery is transformed into the new model's space. Then a share of its images, tenth by tenth, is embedded again
by the new model, in three kinds of order: by the transform's uncertainty, the largest first; at random, three seeds;
and by the true distance between transformed and new vector, which nobody knows without embedding every image. Accuracy
against the share, and its mean over the curve; FastFill's claim is that the uncertainty lies above chance everywhere.

The uncertainty is a network on what the transform sees, trained with FastFill's Gaussian loss on the training split;
the transform itself is left as it is. One row of the study.

Source: Jaeckle et al., FastFill, ICLR 2023, https://arxiv.org/abs/2303.04766.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, Split, own_rows
from compat_sdk.metrics import rank_correlation
from compat_sdk.upgrade.backfill import BackfillCurve, alignment_errors, backfill_curve, backfill_order
from compat_train.config.parts import Optimisation
from compat_train.evaluation.embedding_model import Model, open_model
from compat_train.evaluation.splits import embed_split
from compat_train.evaluation.transform_model import TransformModel, open_transform
from compat_train.methods.uncertainty import log_variances, train_uncertainty

Vectors = NDArray[np.float32]


def embedded(split: Split, models: list[Model], transform: TransformModel) -> tuple[Vectors, Vectors, Vectors]:
    """Of the images of a split: what the transform sees, what it makes of it, and what the new model gives."""
    old, new, *side = embed_split(models, split)
    transformed = transform.of(old, side[0] if side else None)
    seen = np.concatenate([found.vectors for found in (old, *side)], axis=1)
    return seen, transformed.vectors, new.vectors


def curves(
    dataset: Dataset,
    old: Path,
    new: Path,
    transform: Path,
    side: Path | None,
    *,
    random_orders: int = 3,
    epochs: int = 20,
) -> dict[str, Any]:
    """Backfilling curves of one upgrade by every order, as JSON values."""
    models = [open_model(path) for path in (old, new, *(() if side is None else (side,)))]
    mapping = open_transform(transform)
    training = embedded(dataset.split("train"), models, mapping)
    schedule = Optimisation(
        epochs=epochs, batch=min(512, len(training[0])), lr=1e-3, weight_decay=0.0, warmup_epochs=0.0, optimiser="adam"
    )
    with tempfile.TemporaryDirectory() as scratch:
        network = train_uncertainty(*training, scratch, optimisation=schedule)
    gallery, query = dataset.split("gallery"), dataset.split("query")
    seen, transformed, of_new = embedded(gallery, models, mapping)
    queries = embed_split([models[1]], query)[0].vectors
    uncertainty, truth = log_variances(network, seen), alignment_errors(transformed, of_new)
    orders = {"uncertainty": backfill_order(uncertainty), "oracle": backfill_order(truth)}
    for seed in range(random_orders):
        orders[f"random-{seed}"] = np.random.default_rng(seed).permutation(len(gallery)).astype(np.int64)
    found: dict[str, BackfillCurve] = {}
    for name, order in orders.items():
        found[name] = backfill_curve(
            queries, query.labels, transformed, of_new, gallery.labels, order, exclude_self=own_rows(query, gallery)[0]
        )
    chance = [curve for name, curve in found.items() if name.startswith("random")]
    return {
        "old": models[0].name,
        "new": models[1].name,
        "transform": mapping.name,
        "queries": len(query),
        "gallery_size": len(gallery),
        "rank_correlation": rank_correlation(uncertainty, truth),
        "mean_top1": {name: found[name].mean_top1 for name in ("uncertainty", "oracle")}
        | {"random": float(np.mean([curve.mean_top1 for curve in chance]))},
        "curves": {name: curve.to_json() for name, curve in found.items()},
    }
