"""The frozen gallery model's embeddings of the training images, computed once where the views allow it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_sdk.arrays import read_array
from compat_sdk.files import file_problem, make_folder, read_json, sealed_json, sha256_file, unsealed, write_atomic
from compat_sdk.images import Preprocessing
from compat_train.config.training import Augmentation
from compat_train.data.batches import Batch, normalise
from compat_train.device import place
from compat_train.embed import embed_images
from compat_train.runs.checkpoint import Checkpoint

_BLOCK = 1024


class GalleryOutputs:
    """Embeddings of the gallery model for the views that the query model is trained on.

    With no augmentation each image has one view, and with mirroring alone two; these are embedded once, before
    the first step. With any other augmentation the gallery model runs on every batch.
    """

    def __init__(
        self,
        gallery: Checkpoint,
        pixels: NDArray[np.uint8],
        augmentation: Augmentation,
        device: torch.device,
        *,
        bf16: bool = False,
        kept: Path | None = None,
    ) -> None:
        """Builds the gallery model and fills the cache if there can be one.

        Args:
            gallery: The frozen model.
            pixels: uint8 ``[n, size, size, 3]``, decoded as the model does.
            augmentation: Random views of the batches to come.
            device: Where to run.
            bf16: Run under bfloat16 autocast where there is no cache.
            kept: Folder where the cache outlives the process, in files named by model, preprocessing and images; None
                keeps it in memory.
        """
        self._model = place(gallery.build().requires_grad_(False), device)
        self._preprocessing = gallery.preprocessing
        self._device, self._bf16 = device, bf16
        self.cached = augmentation.views is not None
        mirrored = pixels[:, :, ::-1]
        # Without the images in the name, embeddings of others, as many, would be taken for theirs.
        stem = f"{gallery.space}-{_digest(pixels, gallery.preprocessing)}" if kept is not None and self.cached else ""
        self._views = [
            torch.from_numpy(self._embedded(view, None if kept is None else kept / f"{stem}-{name}.npy"))
            for name, view in (("plain", pixels), ("mirrored", mirrored))[: augmentation.views or 0]
        ]

    def _embedded(self, pixels: NDArray[np.uint8], path: Path | None) -> NDArray[np.float32]:
        record = None if path is None else path.with_suffix(".json")
        if path is not None and record is not None and record.is_file():
            # Without its record, as up to 0.7, or unlike it, it is made again.
            if file_problem(path, unsealed(read_json(record), str(record))) is None:
                kept: NDArray[np.float32] = read_array(path)
                return kept
        embeddings = embed_images(self._model, pixels, self._preprocessing, device=self._device, channels_last=True)
        if path is not None:
            make_folder(path.parent)
            partial = path.with_name(f"{path.stem}.{os.getpid()}.npy")
            np.save(partial, embeddings)
            partial.replace(path)
            written = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            write_atomic(path.with_suffix(".json"), sealed_json(written))
        return embeddings

    @torch.no_grad()
    def of_inputs(self, inputs: Tensor) -> Tensor:
        """Embeddings of normalised network inputs.

        Args:
            inputs: Float ``[n, 3, size, size]`` on the training device.

        Returns:
            float32 ``[n, dim]``, any norm, without gradient.
        """
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            embeddings: Tensor = self._model(inputs.contiguous(memory_format=torch.channels_last))
        return embeddings.float()

    def of_batch(self, batch: Batch) -> Tensor:
        """Embeddings ``[n, dim]`` of a batch's own views, any norm, from the cache when there is one."""
        if not self.cached:
            return self.of_inputs(normalise(batch.images, self._preprocessing))
        plain = self._views[0][batch.index]
        if len(self._views) == 2:
            plain = torch.where(batch.flipped[:, None], self._views[1][batch.index], plain)
        return plain.to(self._device)


def _digest(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> str:
    """Twelve digits that change with any image and with what is done to it."""
    digest = hashlib.sha256(json.dumps([preprocessing.to_json(), list(pixels.shape)]).encode())
    for start in range(0, len(pixels), _BLOCK):
        digest.update(np.ascontiguousarray(pixels[start : start + _BLOCK]).data)
    return digest.hexdigest()[:12]
