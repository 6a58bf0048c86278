"""What a frozen gallery model makes of the training images: once of each view where these are counted.

An image has one view, or two where it is mirrored alone, or as many as `Augmentation.fixed_views` says; these are
embedded before the first step, in blocks, into a folder that later trainings share. Of endless views the gallery model
runs on every batch. Of a gallery model that is known by its vectors alone, each image has one, whatever its view.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.errors import DataError
from compat_sdk.progress import Progress
from compat_sdk.unit import check_rows
from compat_train.config.parts import Augmentation
from compat_train.config.settings import config_to_json
from compat_train.data.augment import render
from compat_train.data.batches import Batch, normalise, unit_range
from compat_train.data.kept_vectors import kept_vectors
from compat_train.data.views import Views, fixed_views
from compat_train.device import place
from compat_train.models.adopted import VECTORS
from compat_train.parallel.rows import over_processes
from compat_train.runs.checkpoint import Checkpoint

_BLOCK = 1024
_BATCH = 256
_STAGE = "gallery model's outputs"


class GalleryOutputs:
    """Embeddings by the gallery model of the views that another model is trained on."""

    def __init__(
        self,
        gallery: Checkpoint,
        pixels: NDArray[np.uint8],
        augmentation: Augmentation,
        device: torch.device,
        *,
        half: torch.dtype | None = None,
        kept: Path | None = None,
        sees_batches: bool = True,
        ids: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> None:
        """Embeds every view if there are so many, as far as they are not kept already.

        Args:
            gallery: The frozen model.
            pixels: uint8 ``[n, side, side, 3]``, from which its views are taken: as it decodes images, or a canvas.
            augmentation: Random views of the batches to come.
            device: Where to run.
            half: Type under autocast where views are endless; None for float32.
            kept: Folder where the outputs outlive the process, in files named by model, images and views; None keeps
                them in memory.
            sees_batches: Whether a batch's images are the gallery model's views too; otherwise they are another
                model's, of another size or mean, and the gallery model's are taken from ``pixels``.
            ids: Names of the images, by which a model finds them that is known by its vectors alone.
            progress: Called with the number of views that are embedded.

        Raises:
            DataError: An image has no vector, of a model that is known by its vectors alone.
            VectorError: An image has no embedding.
            TrainingError: Another process writes outputs in the folder.
        """
        stored = gallery.arch == VECTORS
        self._frozen = _Frozen(gallery, pixels, augmentation, device)
        self._device, self._half, self._sees_batches = device, half, sees_batches
        self._images = len(pixels)
        self._views = 1 if stored else augmentation.views
        self.cached = self._views is not None
        if stored:
            self._outputs = _stored(gallery, ids, np.arange(len(pixels), dtype=np.int64))
        elif self.cached:
            self._outputs = _outputs(self._frozen, np.arange(len(pixels), dtype=np.int64), kept, progress)

    def of_batch(self, batch: Batch) -> Tensor:
        """Embeddings ``[n, dim]`` of a batch's own views, any norm, without gradient; those of before if there are."""
        if not self.cached:
            return self.of_images(self.images_of(batch))
        row = batch.number % (self._views or 1) * self._images + batch.index
        return torch.from_numpy(self._outputs[row.numpy()]).to(self._device)

    def images_of(self, batch: Batch) -> Tensor:
        """A batch's views as the gallery model sees them: float ``[n, 3, size, size]`` in [0, 1]."""
        return batch.images if self._sees_batches else self._frozen.rendered(batch.index.numpy(), batch.views)

    @torch.no_grad()
    def of_images(self, images: Tensor) -> Tensor:
        """Embeddings of images.

        Args:
            images: Float ``[n, 3, size, size]`` in [0, 1] on the training device, of the gallery model's size.

        Returns:
            float32 ``[n, dim]``, any norm, without gradient.
        """
        with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
            return over_processes(self._frozen.of_images, images)


def plain_outputs(
    gallery: Checkpoint,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    device: torch.device,
    *,
    kept: Path | None = None,
    ids: Sequence[str] = (),
) -> Tensor:
    """Unit-norm embeddings ``[len(rows), dim]`` of some training images as they are, by the gallery model.

    Args:
        gallery: The frozen model.
        pixels: uint8 ``[n, size, size, 3]``, decoded as the model does.
        rows: Which of them.
        device: Where to run, and where the result lies.
        kept: Folder where they outlive the process; None keeps them in memory.
        ids: Names of all images, by which a model finds them that is known by its vectors alone.

    Raises:
        VectorError: An image has no embedding.
        DataError: An image has no vector, of a model that is known by its vectors alone.
    """
    if gallery.arch == VECTORS:
        return torch.from_numpy(_stored(gallery, ids, rows)).to(device)
    found = _outputs(_Frozen(gallery, pixels, Augmentation(), device), rows, kept, None)
    return torch.from_numpy(np.array(found)).to(device)


def _stored(gallery: Checkpoint, ids: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    if len(rows) and not ids:
        raise DataError(f"{gallery.path} is known by its vectors alone, and the images have no names to find them by")
    return gallery.stored([ids[row] for row in rows.tolist()])


class _Frozen:
    """The gallery model, and the images and views that it is shown."""

    def __init__(
        self, gallery: Checkpoint, pixels: NDArray[np.uint8], augmentation: Augmentation, device: torch.device
    ) -> None:
        self.gallery, self.pixels, self.augmentation, self.device = gallery, pixels, augmentation, device

    @cached_property
    def model(self) -> nn.Module:
        """Built when it is first needed: where all is kept, it never is."""
        return place(self.gallery.build().requires_grad_(False), self.device)

    def rendered(self, rows: NDArray[np.int64], views: Views) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[rows]))
        own = self.gallery.preprocessing
        return render(unit_range(pixels.to(self.device)), views, self.augmentation, size=own.size, mean=own.mean)

    def of_images(self, images: Tensor) -> Tensor:
        inputs = normalise(images, self.gallery.preprocessing).contiguous(memory_format=torch.channels_last)
        embeddings: Tensor = self.model(inputs)
        return embeddings.float()

    def of_view(self, view: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit-norm embeddings of one view of each image."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(rows), _BATCH):
                block = rows[start : start + _BATCH]
                output = self.of_images(self.rendered(block, fixed_views(self.augmentation, view, block)))
                found.append((output / output.norm(dim=1, keepdim=True)).cpu().numpy())
        vectors: NDArray[np.float32] = np.concatenate(found)
        check_rows(vectors, "images have no embedding", "the gallery model's weights are damaged: train it again")
        return vectors

    def digest(self, rows: NDArray[np.int64]) -> str:
        """Sixteen digits that change with any image, with what is done to it, and with its views."""
        own = [self.gallery.preprocessing.to_json(), config_to_json(self.augmentation)]
        digest = hashlib.sha256(json.dumps([own, list(self.pixels.shape)]).encode())
        digest.update(np.ascontiguousarray(rows).data)
        for start in range(0, len(rows), _BLOCK):
            digest.update(np.ascontiguousarray(self.pixels[rows[start : start + _BLOCK]]).data)
        return digest.hexdigest()[:16]


def _outputs(
    frozen: _Frozen, rows: NDArray[np.int64], kept: Path | None, progress: Progress | None
) -> NDArray[np.float32]:
    """Unit-norm outputs ``[views * len(rows), dim]``, all rows of the first view before those of the second."""
    count, views = len(rows), frozen.augmentation.views or 0

    def compute(start: int, end: int) -> NDArray[np.float32]:
        return np.concatenate(
            [
                frozen.of_view(view, rows[max(0, start - view * count) : end - view * count])
                for view in range(start // count, (end - 1) // count + 1)
            ]
        )

    def done(number: int) -> None:
        if progress is not None:
            progress(_STAGE, number, views * count, {})

    # Without the images in the name, embeddings of others, as many, would be taken for theirs.
    path = None if kept is None else kept / f"{frozen.gallery.space}-{frozen.digest(rows)}.vectors"
    return kept_vectors(path, views * count, frozen.gallery.dim, compute, done)
