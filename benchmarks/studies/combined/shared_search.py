"""The global search with shared weights: they are trained once, and a candidate is a part of them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.studies.combined.shared_weights import Schedule, SharedWeights, take
from compat_sdk.files.documents import write_json_atomic
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_to_json
from compat_train.data.batches import Batch
from compat_train.device import place
from compat_train.embed import embed_images
from compat_train.loop import fit
from compat_train.methods.classify import new_classifier
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.models.global_space import GlobalMember
from compat_train.models.layers import fold_batch_norms
from compat_train.nas.cmp.candidate import recalibrate
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.prepare import fitting, prepare
from compat_train.nas.global_nas.search import search
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.resume_points import ResumePoints

_CALIBRATION, _CALIBRATION_BATCH = 1024, 128
_CANDIDATES = 30  # about as many as the moves come to
_RANDOM_SEED = 31


class Combined:
    """Shared weights within the limit of a search, the search's moves over them, and random members."""

    def __init__(self, config: GlobalConfig, folder: Path) -> None:
        """Reads what everything rests on; ``folder`` keeps decoded images and resume points."""
        self._config, self._folder = config, folder
        self._prepared = prepare(config, folder)
        self._fits = fitting(config, self._prepared.cost, None)
        bounds = config.bounds
        self._widths = {
            depth: [width for width in bounds.widths if self._fits(bounds.member(depth, width))]
            for depth in bounds.depths
        }
        self._widths = {depth: widths for depth, widths in self._widths.items() if widths}

    def search(self, seconds: float) -> GlobalMember:
        """The network that the moves end at, with shared weights that are trained for what they leave of the time.

        Args:
            seconds: CPU time of the whole; an epoch is trained beforehand to know what one takes.
        """

        def measured() -> int:
            shutil.rmtree(self._folder / "an-epoch", ignore_errors=True)  # a part of it would look like a fast one
            start = time.process_time()
            shared = self.trained(1, "an-epoch")
            between = time.process_time()
            self.score(shared, self._config.bounds.member(max(self._widths), self._widths[max(self._widths)][0]))
            moves = _CANDIDATES * (time.process_time() - between)
            return max(2, round((seconds - moves) / (between - start)))

        shared = self.trained(kept_epochs(self._folder / "epochs.json", measured), "weights")
        scores: dict[GlobalMember, float] = {}

        def evaluate(member: GlobalMember, _: int) -> float:
            if member not in scores:
                scores[member] = self.score(shared, member)
            return scores[member]

        return search(self._config, evaluate, dim=self._prepared.dim, fits=self._fits).member

    def trained(self, epochs: int, name: str) -> SharedWeights:
        """Shared weights after so many epochs, one member a step."""
        config, prepared = self._config, self._prepared
        query = config.training(config.bounds.member(config.bounds.min_depth, 1).name, epochs)
        assert isinstance(query, QueryConfig)  # r3 has a gallery model
        gallery, data, device = Checkpoint.load(query.gallery), prepared.images.data, torch.device("cpu")
        torch.manual_seed(config.execution.seed)
        shared = SharedWeights(config.bounds, dim=prepared.dim, stem_stride=config.stem_stride)
        place(shared, device)
        optimisation = config.optimisation.of(epochs)
        batches = data.batches(optimisation, config.execution, config.augmentation, prepared.preprocessing, device)
        steps = batches.steps_per_epoch * epochs
        schedule = Schedule(self._widths, steps, config.execution.seed, config.bounds.member)

        def embed(inputs: Tensor, batch: Batch) -> Tensor:
            found: Tensor = shared(inputs, schedule.member(batch.step))
            return found

        rows, unused = gallery_rows(query, gallery, data), new_classifier(len(data.classes), gallery.dim)
        objective = compatibility_objective(query, gallery, data, embed, unused, rows, device)
        settings = {"training": config_to_json(query), "gallery": gallery.space, "limit": config.mmacs}
        fit(
            nn.ModuleDict({"shared": shared}),
            objective,
            batches,
            optimisation,
            config.execution,
            run=self._folder / name,
            settings=settings,
            stage="train shared weights",
            moved=lambda step: shared.drawn_parts(schedule.member(step)),
        )
        ResumePoints(self._folder / name).clear()
        return shared

    def score(self, shared: SharedWeights, member: GlobalMember) -> float:
        """R3 of a member with the shared weights, on the images that judge."""
        images, preprocessing = self._prepared.images, self._prepared.preprocessing
        network: nn.Module = take(shared, member, stem_stride=self._config.stem_stride)
        rows = np.linspace(0, len(images.data.pixels) - 1, _CALIBRATION).astype(np.int64)
        recalibrate(network, images.data.pixels[rows], preprocessing, batch=_CALIBRATION_BATCH)
        network = fold_batch_norms(network)
        queries, own = (
            embed_images(network, pixels, preprocessing, channels_last=True)
            for pixels in (images.queries, images.gallery)
        )
        assert images.gallery_embeddings is not None  # r3 has a gallery model
        score = 1.0
        for stored in (own, images.gallery_embeddings):
            metric = self._config.accuracy
            score *= float(metric.values(queries, images.query_labels, stored, images.gallery_labels).mean())
        return score

    def random(self, count: int) -> list[GlobalMember]:
        """So many members, each of a random depth at its greatest width: of about equal cost, as what is found."""
        generator = np.random.default_rng((self._config.execution.seed, _RANDOM_SEED))
        depths = generator.permutation(sorted(self._widths))[:count]
        return [replace(self._config.bounds.member(int(depth), self._widths[int(depth)][0])) for depth in depths]


def kept_epochs(path: Path, measure: Callable[[], int]) -> int:
    """How long to train, measured once: a training that goes on after a stop must be as long as it was begun."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(path, measure())
    found: int = json.loads(path.read_text())
    return found
