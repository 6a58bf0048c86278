"""The frozen gallery model's embeddings of the training images, computed once where the views allow it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_train.checkpoint import Checkpoint
from compat_train.config import Augmentation
from compat_train.data.batches import Batch, normalise
from compat_train.device import place
from compat_train.embed import embed_images


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
    ) -> None:
        """Builds the gallery model and fills the cache if there can be one."""
        self._model = place(gallery.build().requires_grad_(False), device)
        self._preprocessing = gallery.preprocessing
        self._device, self._bf16 = device, bf16
        self.cached = augmentation.views is not None
        mirrored = pixels[:, :, ::-1]
        self._views = [
            torch.from_numpy(embed_images(self._model, view, self._preprocessing, device=device))
            for view in (pixels, mirrored)[: augmentation.views or 0]
        ]

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
