"""A training step of a candidate of a global search, timed against the sgemm peak of the same run."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch

from compat_train.config.gallery import GalleryConfig
from compat_train.data.batches import Batches, normalise
from compat_train.data.training_set import TrainingSet
from compat_train.device import place
from compat_train.methods.classify import classification_loss, new_classifier
from compat_train.models.build import build_model
from compat_train.models.global_cost import mmacs
from compat_train.models.global_space import GlobalMember

ROUNDS = 9  # steps that are timed, after one that is not
PEAK_SIDE = 1024  # of the product that measures the sgemm peak


def timed_steps(training: GalleryConfig, member: GlobalMember, data: TrainingSet) -> dict[str, Any]:
    """Medians over alternating rounds: making a batch, a step on it, and the sgemm peak."""
    batch, preprocessing = training.optimisation.batch, training.preprocessing
    batches = Batches(
        data.pixels,
        data.labels,
        batch=batch,
        seed=0,
        augmentation=training.augmentation,
        device=torch.device("cpu"),
        mean=preprocessing.mean,
    )
    torch.manual_seed(0)
    embedder = build_model(member.name, dim=training.dim, stem_stride=training.stem_stride)
    classifier = new_classifier(len(data.classes), training.dim)
    trained = place(torch.nn.ModuleDict({"embedder": embedder, "classifier": classifier}), torch.device("cpu"))
    optimiser = torch.optim.SGD(trained.parameters(), lr=1e-3, momentum=0.9, weight_decay=3e-4)
    square = torch.randn(PEAK_SIDE, PEAK_SIDE)
    times: dict[str, list[float]] = {"views": [], "step": [], "product": []}
    for number in range(ROUNDS + 1):
        start = time.process_time()
        views = batches.at(number)
        times["views"].append(time.process_time() - start)
        start = time.process_time()
        images = normalise(views.images, preprocessing).contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad(set_to_none=True)
        loss = classification_loss(embedder(images), classifier.weight, views.labels, training.classification)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.parameters(), training.optimisation.gradient_norm)
        optimiser.step()
        times["step"].append(time.process_time() - start)
        start = time.process_time()
        square @ square
        times["product"].append(time.process_time() - start)
    seconds = {name: median(found[1:]) for name, found in times.items()}
    cost = mmacs(member, preprocessing.size, training.dim, training.stem_stride)
    peak = 2 * PEAK_SIDE**3 / seconds["product"]
    work, whole = 3 * 2 * 1e6 * cost * batch, seconds["views"] + seconds["step"]
    return {
        "arch": member.name,
        "mmacs": cost,
        "images": batches.steps_per_epoch * batch,
        "epoch_cpu_seconds": whole * batches.steps_per_epoch,
        "views_share_of_time": seconds["views"] / whole,
        "sgemm_gflops": peak / 1e9,
        "share_of_peak": work / whole / peak,
    }
