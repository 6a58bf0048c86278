"""Images that the networks of a global search learn from, and others that judge them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, require_consistent
from compat_sdk.datasets.content import picture_sha256
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_train.data.mapped_file import write_mapped, writing_images
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet, split_rows
from compat_train.device import device_of
from compat_train.embed import embed_images
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.held_out import alternate, check_held_out, sides
from compat_train.runs.checkpoint import Checkpoint

_BLOCK = 1024
_HELD_OUT_SEED = 12


@dataclass(frozen=True, eq=False)
class SearchImages:
    """What candidates are trained and judged on.

    Attributes:
        data: Training images.
        queries: uint8 ``[n, size, size, 3]``, never trained on.
        query_labels: Class of each.
        gallery: uint8 ``[m, size, size, 3]``, never trained on either; empty where accuracy is of classification.
        gallery_labels: Class of each.
        gallery_embeddings: float32 ``[m, dim]`` of unit norm by the gallery model; None without one.
        held_out: Whether those that judge are training images held out, rather than the validation split.
    """

    data: TrainingSet
    queries: NDArray[np.uint8]
    query_labels: tuple[str, ...]
    gallery: NDArray[np.uint8]
    gallery_labels: tuple[str, ...]
    gallery_embeddings: NDArray[np.float32] | None = None
    held_out: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of all images, those that teach and those that judge, and of their labels."""
        digest = hashlib.sha256(repr((self.data.classes, self.query_labels, self.gallery_labels)).encode())
        for array in (self.data.labels, self.data.pixels, self.queries, self.gallery):
            for start in range(0, len(array), _BLOCK):
                digest.update(np.ascontiguousarray(array[start : start + _BLOCK]).data)
        return digest.hexdigest()


def search_images(
    config: GlobalConfig,
    dataset: Dataset,
    data: TrainingSet,
    preprocessing: Preprocessing,
    gallery: Checkpoint | None,
    folder: Path,
) -> SearchImages:
    """Chooses the images that judge: those of the validation split, or else some of each class's training images.

    Classification needs known classes: a validation split of other classes does not serve it, and training images are
    held out, by the seed. Retrieval is judged on the validation split where there is one. The reward r3 needs that
    split: identities that the gallery model was trained on would tell how well it remembers them.

    Args:
        config: Objective and share.
        dataset: All splits.
        data: All training images.
        preprocessing: Of the candidates.
        gallery: The gallery model, for r3.
        folder: Of the run; copies of images that are mapped into memory are written there.

    Raises:
        DataError: A class has too few images or copies alone, the validation split cannot judge, or an image cannot
            be read.
        ConfigError: ``held_out`` is set, and the validation split judges.
    """
    val = dataset.splits.get("val")
    serves = val is not None and len(val) and (config.objective != "accuracy" or set(val.classes) <= set(data.classes))
    if config.objective != "r3" and not serves:
        return _held_out(config, data, folder)
    if config.held_out is not None:
        raise ConfigError(
            f"held_out is set, but {dataset.name} has a split 'val', which judges the candidates; leave it out"
        )
    if config.objective == "accuracy" and val is not None:
        require_consistent(val)
        pixels = decode_split(val, preprocessing).images
        return SearchImages(data, pixels, val.labels, gallery=pixels[:0], gallery_labels=())
    split = check_held_out(dataset, gallery)
    queries, others = (split_rows(split, rows) for rows in sides(split))
    gallery_pixels = decode_split(others, preprocessing).images
    embeddings = None
    if gallery is not None:
        embeddings = embed_images(
            gallery.build(),
            gallery_pixels,
            preprocessing,
            device=device_of(config.execution.device),
            channels_last=True,
        )
    return SearchImages(
        data,
        queries=decode_split(queries, preprocessing).images,
        query_labels=queries.labels,
        gallery=gallery_pixels,
        gallery_labels=others.labels,
        gallery_embeddings=embeddings,
    )


def held_out_rows(
    labels: NDArray[np.int64], classes: Sequence[str], share: float, seed: int, least: int = 1
) -> NDArray[np.int64]:
    """Rows of some images of every class, rising; each class draws by itself.

    Args:
        labels: Class number of each row.
        classes: Their names.
        share: Of each class's images, rounded.
        seed: Source of the draws.
        least: Images of each class at least.

    Raises:
        DataError: A class would have no image left.
    """
    found = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = max(least, round(share * len(rows)))
        if count >= len(rows):
            raise DataError(
                f"class {classes[label]!r} has {len(rows)} training images, and {count} of them would be held out to "
                f"judge candidates; give every class {least + 1} images or more, or leave small classes out"
            )
        found.append(np.random.default_rng((seed, _HELD_OUT_SEED, int(label))).permutation(rows)[:count])
    return np.sort(np.concatenate(found))


def _held_out(config: GlobalConfig, data: TrainingSet, folder: Path) -> SearchImages:
    retrieval = config.objective == "retrieval"
    held = held_out_rows(data.labels, data.classes, config.share, config.execution.seed, least=2 if retrieval else 1)
    rest = np.setdiff1d(np.arange(len(data.labels)), held)
    learnt = TrainingSet(_picked(data.pixels, rest, folder / "search.pixels"), data.labels[rest], data.classes)
    side = alternate(data.labels[held]) if retrieval else np.ones(len(held), np.bool_)
    queries, others = held[side], held[~side]
    if retrieval:
        known = {picture_sha256(data.pixels[row]) for row in others}
        strangers = [picture_sha256(data.pixels[row]) not in known for row in queries]
        if not any(strangers):
            raise DataError("every held-out query has its very picture in the gallery; give the classes more images")
        queries = queries[strangers]
    return SearchImages(
        learnt,
        queries=np.ascontiguousarray(data.pixels[queries]),
        query_labels=tuple(data.classes[label] for label in data.labels[queries]),
        gallery=np.ascontiguousarray(data.pixels[others]),
        gallery_labels=tuple(data.classes[label] for label in data.labels[others]),
        held_out=True,
    )


def _picked(pixels: NDArray[np.uint8], rows: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
    """Some images; as a file again where they were mapped from one, since they may not fit into memory."""
    if pixels.strides[-1] == 0:  # a grey image that stands for its three channels
        return np.broadcast_to(pixels[..., :1][rows], (len(rows), *pixels.shape[1:]))
    if not isinstance(pixels, np.memmap):
        return pixels[rows]
    shape = (len(rows), *pixels.shape[1:])

    def fill(mapped: NDArray[np.uint8]) -> None:
        for start in range(0, len(rows), _BLOCK):
            mapped[start : start + _BLOCK] = pixels[rows[start : start + _BLOCK]]

    with writing_images(path.parent):
        write_mapped(path, shape, fill)
    return np.memmap(path, np.uint8, "r", shape=shape)
