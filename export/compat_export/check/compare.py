"""What a graph's drift does to retrieval: neighbours that change, and accuracy against the gallery model's gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, Split, open_dataset, own_rows, require_labels
from compat_sdk.datasets.split import is_array
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_sdk.images.preprocess import pixels_at
from compat_sdk.metrics import score_queries
from compat_sdk.spread import spread
from compat_train.adoption.opening import open_gallery_model
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import split_rows
from compat_train.embed import embed_images
from compat_train.runs.checkpoint import Checkpoint

_SAMPLE_QUERIES, _SAMPLE_GALLERY, _NEIGHBOURS = 24, 96, 10
_TIE = 1e-5


@dataclass(frozen=True, eq=False)
class Probe:
    """Queries and a gallery to search with them.

    Attributes:
        queries: uint8 ``[n, size, size, 3]``.
        reference: PyTorch's embeddings of them, float32 ``[n, dim]``, unit norm.
        gallery: Embeddings to search, float32 ``[m, dim]``, unit norm.
        labels: Identity of each query and of each gallery row, where accuracy is to be measured; else None.
    """

    queries: NDArray[np.uint8]
    reference: NDArray[np.float32]
    gallery: NDArray[np.float32]
    labels: tuple[Sequence[str], Sequence[str]] | None

    def overlap(self, found: NDArray[np.float32]) -> float:
        """Share of the 10 nearest found that are among PyTorch's 10 nearest, in [0, 1]; mean over the queries.

        A gallery row within 1e-5 of PyTorch's tenth similarity counts: which of equal neighbours comes first is chance.
        """
        count = min(_NEIGHBOURS, len(self.gallery))
        similarity = self.reference @ self.gallery.T
        tenth = np.sort(similarity, 1)[:, -count, None]
        nearest = np.argsort(-(found @ self.gallery.T), 1, kind="stable")[:, :count]
        return float((np.take_along_axis(similarity, nearest, 1) >= tenth - _TIE).mean())

    def accuracy(self, found: NDArray[np.float32]) -> float | None:
        """Top-1 accuracy M(q,g) of these query embeddings, in [0, 1]; None where there are no labels."""
        if self.labels is None:
            return None
        return float(score_queries(found, self.labels[0], self.gallery, self.labels[1]).hits(1).mean())


def sample_probe(checkpoint: Checkpoint) -> Probe:
    """Images of the bundled sample searched in the model's own embeddings: neighbours, but no accuracy."""
    dataset = open_dataset("sample")
    preprocessing = checkpoint.preprocessing
    queries = evenly(dataset.splits["query"], _SAMPLE_QUERIES, preprocessing)[0]
    gallery = evenly(dataset.splits["gallery"], _SAMPLE_GALLERY, preprocessing)[0]
    network = checkpoint.build()
    return Probe(
        queries,
        embed_images(network, queries, preprocessing),
        embed_images(network, gallery, preprocessing, channels_last=True),
        None,
    )


def data_probe(dataset: Dataset, checkpoint: Checkpoint, gallery: str | Path, most: int) -> Probe:
    """Queries of a dataset searched in the gallery model's embeddings of its gallery: neighbours and M(q,g).

    Args:
        dataset: With the splits query and gallery.
        checkpoint: The exported model.
        gallery: RUN folder of the gallery model.
        most: Queries taken, evenly spaced, of those whose own picture is not in the gallery; the whole gallery is.

    Raises:
        ConfigError: The two models differ in dimension.
        DataError: A split is missing or has no labels, an image cannot be read, or no query is left.
    """
    of_gallery = open_gallery_model(gallery)
    if of_gallery.dim != checkpoint.dim:
        raise ConfigError(
            f"{of_gallery.name} gives {of_gallery.dim} dimensions and {checkpoint.name} {checkpoint.dim}; expected the "
            f"gallery run that the exported model was trained against"
        )
    for name in ("query", "gallery"):
        require_labels(dataset.split(name), dataset.name, "counting right hits")
    query = dataset.split("query")
    strangers = np.flatnonzero(own_rows(query, dataset.split("gallery"))[0] < 0)
    if not len(strangers):
        raise DataError(
            f"every query picture of {dataset.name} is in its gallery too and would find itself; use others"
        )
    pixels, labels = evenly(split_rows(query, strangers), most, checkpoint.preprocessing)
    images = decode_split(dataset.split("gallery"), of_gallery.preprocessing).images
    return Probe(
        pixels,
        embed_images(checkpoint.build(), pixels, checkpoint.preprocessing, channels_last=True),
        embed_images(of_gallery.build(), images, of_gallery.preprocessing, channels_last=True),
        (labels, dataset.split("gallery").labels),
    )


def calibration_images(source: str, root: Path | None, preprocessing: Preprocessing, count: int) -> NDArray[np.uint8]:
    """Evenly spaced training images, uint8 ``[count, size, size, 3]``.

    Raises:
        DataError: There is no training split, or an image cannot be read.
    """
    return evenly(open_dataset(source, root).split("train"), count, preprocessing)[0]


def evenly(split: Split, most: int, preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], list[str]]:
    """At most so many images of a split, evenly spaced: uint8 ``[n, size, size, 3]`` RGB, and their labels."""
    rows = spread(len(split), most).tolist()
    images = split.images
    source = images if is_array(images) else list(images)
    return np.stack([pixels_at(source, row, preprocessing) for row in rows]), [split.labels[row] for row in rows]
