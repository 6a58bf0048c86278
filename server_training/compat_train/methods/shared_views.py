"""What several frozen models make of the same views of the same training images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from compat_sdk.images import Preprocessing
from compat_sdk.progress import Progress
from compat_sdk.spread import spread
from compat_train.config.upgrade import UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.data.canvas import decoding
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.methods.earlier import EarlierUpgrades
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.held_out import StoredRows
from compat_train.methods.unseen_classes import training_embeddings
from compat_train.precision import autocast_type
from compat_train.runs.checkpoint import Checkpoint

_MOST_PLAIN = 20_000
"""Training images that ridge regression, the baseline, learns from."""


class SharedViews:
    """Embeddings of the same views of the same images by several frozen models.

    A view's random numbers depend on the seed and the step, not on the size of the images: so models that decode
    images differently are given the same crop, turn and colour, each at its own size.
    """

    def __init__(
        self,
        config: UpgradeConfig,
        models: dict[str, Checkpoint],
        run: Path,
        device: torch.device,
        progress: Progress | None,
        data: TrainingSet | None,
        kept: Path,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """Decode the training images, and embed those whose views are counted.

        Args:
            config: The images, their augmentation and the schedule.
            models: ``old``, ``new``, and ``side`` where there is side-information.
            run: RUN folder, for images that do not fit in memory.
            device: Where to run.
            progress: Called while images are decoded.
            data: The images as the new model decodes them, where the caller has them already.
            kept: Folder where embeddings outlive the process.
            without: Ids of images that are left out.
        """
        half = autocast_type(config.execution, device)
        self._decoding = {name: decoding(model.preprocessing) for name, model in models.items()}
        sets: dict[Preprocessing, TrainingSet] = {} if data is None else {self._decoding["new"]: data}
        self._outputs: dict[str, GalleryOutputs] = {}
        labels_for = "the term 'arc'" if config.weights["arc"] else None
        for name, model in models.items():
            as_seen = self._decoding[name]
            if as_seen not in sets:
                sets[as_seen] = load_training_set(
                    config.images,
                    as_seen,
                    cache=run / "pixels",
                    progress=progress,
                    without=without,
                    labels_for=labels_for,
                )
            pixels = sets[as_seen].pixels
            self._outputs[name] = GalleryOutputs(model, pixels, config.augmentation, device, half=half, kept=kept)
        self._models, self._sets, self._device = models, sets, device
        cached = config.augmentation.views is not None
        self._batches: dict[Preprocessing, Batches] = {}
        for as_seen, images in sets.items():
            # Once every view is embedded, nobody looks at the images: one pixel in place of each keeps steps cheap.
            seen = replace(images, pixels=np.zeros((len(images.pixels), 1, 1, 3), np.uint8)) if cached else images
            blank = replace(models["new"].preprocessing, size=as_seen.size)
            self._batches[as_seen] = seen.batches(config.schedule, config.execution, config.augmentation, blank, device)
        self.batches = self._batches[self._decoding["new"]]
        self.classes = sets[self._decoding["new"]].classes
        self.origin = sets[self._decoding["new"]].origin

    def plain(self, earlier: EarlierUpgrades) -> StoredRows:
        """What is stored of the training images as they are, of 20,000 at most, and the new model's vectors."""
        rows = spread(len(self._sets[self._decoding["new"]].pixels), _MOST_PLAIN)
        found = {
            name: training_embeddings(model, self._sets[self._decoding[name]].pixels, self._device, rows)
            for name, model in self._models.items()
        }
        return StoredRows(tuple(earlier(found["old"], found.get("side"))), found["new"])

    def stored(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """What was stored of a batch's images: vectors of the old model, and side-information if there is some."""
        return self.of_batch("old", batch), self.of_batch("side", batch) if "side" in self._outputs else None

    def of_batch(self, name: str, batch: Batch) -> Tensor:
        """Unit-norm embeddings ``[n, dim]`` of a batch of ``batches`` by one of the models, without gradient."""
        outputs, as_seen = self._outputs[name], self._decoding[name]
        if not outputs.cached and as_seen != self._decoding["new"]:
            batch = self._batches[as_seen].at(batch.step)
        return F.normalize(outputs.of_batch(batch))
