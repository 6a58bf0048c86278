"""The splits that an evaluation needs, and their embeddings by each model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, Split, require_consistent, require_labels
from compat_sdk.errors import DataError
from compat_sdk.progress import Progress
from compat_sdk.space import Embeddings
from compat_train.data.pixels import decode_split
from compat_train.evaluation.embedding_model import Model


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
    found = split_vectors(models, split, memory_mib=memory_mib, threads=threads, progress=progress)
    return [Embeddings(rows, model.space, model.searches) for model, rows in zip(models, found, strict=True)]


def split_vectors(
    models: Sequence[Model],
    split: Split,
    *,
    memory_mib: float = 256,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    """What each model gives of a split, of any length; see `embed_split`."""
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
    return [np.concatenate(found) for found in rows]


def filled_split(dataset: Dataset, name: str) -> Split:
    """A split that evaluation needs.

    Raises:
        DataError: It is missing or empty, lists an image twice, or its images have no labels and the dataset does not
            list what its queries should find.
    """
    if dataset.same is not None:
        raise DataError(f"{dataset.name} has pairs and no identities to search for; only `compat-sdk evaluate` uses it")
    split = dataset.splits.get(name)
    if split is None or not len(split):
        sizes = ", ".join(f"{other} {len(images)}" for other, images in dataset.splits.items()) or "none"
        raise DataError(
            f"dataset {dataset.name} has no images in its split '{name}' (images per split: {sizes}); evaluation "
            f"needs the splits query and gallery"
        )
    require_consistent(split)
    if dataset.relevance is None or name not in ("query", "gallery"):
        require_labels(split, dataset.name, "evaluation")
    return split
