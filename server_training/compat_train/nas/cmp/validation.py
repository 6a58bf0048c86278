"""Images that candidates are judged on, prepared once and mapped into memory by every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import read_array, save_array
from compat_sdk.datasets import Split
from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import read_json
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import sealed_json, unsealed
from compat_sdk.shown import shortened
from compat_sdk.spread import spread
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet, split_rows
from compat_train.embed import embed_images
from compat_train.nas.cmp.config import ValidationConfig
from compat_train.nas.held_out import sides, thinned
from compat_train.runs.checkpoint import Checkpoint

DIGEST = "digest.json"
_ARRAYS = ("queries", "query_labels", "gallery", "gallery_labels", "gallery_embeddings", "calibration")


@dataclass(frozen=True, eq=False)
class Validation:
    """Validation images of both sides, the gallery model's embeddings of its side, and calibration images.

    Attributes:
        queries: uint8 ``[n, size, size, 3]``.
        query_labels: int64 ``[n]``.
        gallery: uint8 ``[m, size, size, 3]``.
        gallery_labels: int64 ``[m]``.
        gallery_embeddings: float32 ``[m, dim]`` of unit norm, by the gallery model. Computed once for a search.
        calibration: uint8 ``[k, size, size, 3]``, training images for batch-norm statistics.
    """

    queries: NDArray[np.uint8]
    query_labels: NDArray[np.int64]
    gallery: NDArray[np.uint8]
    gallery_labels: NDArray[np.int64]
    gallery_embeddings: NDArray[np.float32]
    calibration: NDArray[np.uint8]

    def save(self, folder: Path, settings: Mapping[str, object]) -> None:
        """Writes the arrays as ``.npy`` files, then a digest of them all with the settings that decided them."""
        make_folder(folder)
        for name in _ARRAYS:
            save_array(folder / f"{name}.npy", getattr(self, name))
        write_atomic(folder / DIGEST, sealed_json({"sha256": self.sha256(), "settings": dict(settings)}))

    def sha256(self) -> str:
        """Digest of all arrays, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for name in _ARRAYS:
            digest.update(name.encode() + np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()

    @staticmethod
    def settings(folder: Path) -> object:
        """The settings that decided the arrays of a folder, once it is sure that they are the ones that were saved.

        Raises:
            CorruptFileError: The record or an array was changed after it was written.
        """
        record = read_digest(folder)
        try:
            found = Validation.load(folder).sha256()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                raise_if_refused(folder, error)
            raise CorruptFileError(f"an array in {folder} cannot be read ({error}); delete the folder") from error
        if found != record.get("sha256"):
            known = shortened(str(record.get("sha256")))
            raise CorruptFileError(
                f"the arrays in {folder} have SHA-256 {found}, expected {known}; delete the folder, and "
                f"scores.jsonl beside it, to prepare and measure again"
            )
        return record.get("settings")

    @staticmethod
    def load(folder: Path) -> Validation:
        """The arrays of a folder, mapped into memory: workers on one machine share them."""
        return Validation(**{name: read_array(folder / f"{name}.npy", mapped=True) for name in _ARRAYS})


def read_digest(folder: Path) -> dict[str, object]:
    """The record of a folder of arrays: ``sha256`` of them all, and the ``settings`` that decided them.

    Raises:
        CorruptFileError: It is missing, or was changed after it was written.
    """
    return unsealed(read_json(folder / DIGEST), str(folder / DIGEST), required=False)


def prepare_validation(
    split: Split, data: TrainingSet, gallery: Checkpoint, config: ValidationConfig, *, device: str
) -> Validation:
    """Decodes what a search needs and embeds the gallery side with the gallery model.

    Images of the validation split that play the query side do so by the split's own marks, or else every second
    image of each identity. Where there are more images than ``config`` allows, evenly spaced ones are taken, and every
    query keeps a match.

    Args:
        split: Output of `check_held_out`.
        data: Training images, for calibration.
        gallery: The gallery model.
        config: How many images.
        device: Where the gallery model runs.

    Raises:
        DataError: An image cannot be read, or no identity has images on both sides.
    """
    labels = np.unique(np.array(split.labels), return_inverse=True)[1].astype(np.int64)
    queries, gallery_rows = thinned(labels, *sides(split), config.queries, config.gallery)
    gallery_pixels = decode_split(split_rows(split, gallery_rows), gallery.preprocessing).images
    return Validation(
        queries=decode_split(split_rows(split, queries), gallery.preprocessing).images,
        query_labels=labels[queries],
        gallery=gallery_pixels,
        gallery_labels=labels[gallery_rows],
        gallery_embeddings=embed_images(
            gallery.build(), gallery_pixels, gallery.preprocessing, device=device, channels_last=True
        ),
        calibration=np.ascontiguousarray(data.pixels[spread(len(data.pixels), config.calibration)]),
    )
