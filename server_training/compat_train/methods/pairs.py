"""Training a transform from stored vectors alone: no RUN, no images.

A part of the pairs is held out. Half of it tells when to stop. The other half, which nothing was learnt from, judges
the result: whether the upgraded gallery finds more than the old one, and more than by ridge regression. The network
begins as that regression, and its width and its weight decay follow the number of pairs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.progress import Progress
from compat_train.config.parts import Augmentation, Optimisation
from compat_train.config.settings import config_to_json
from compat_train.config.upgrade import UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.data.pairs import Pairs, read_pairs
from compat_train.device import device_of
from compat_train.evaluation.verdict import write_verdict
from compat_train.loop import Objective, fit
from compat_train.losses.distill import embedding_regression_loss
from compat_train.losses.forward import forward_transform_loss
from compat_train.methods.classify import finished_run
from compat_train.methods.held_out import Kept, StoredRows
from compat_train.methods.ridge import ridge_regression
from compat_train.methods.ridge_transform import least_width, start_as
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.parallel.group import leads
from compat_train.runs.layout import UPGRADE_RUN, require_run
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import on_cpu
from compat_train.runs.transform_run import TransformRun

_PAIRS_PER_UNIT = 8
_MANY = 50_000
_MOST_DECAY = 32.0
_LEAST_BATCH, _STEPS_PER_EPOCH = 32, 8


def train_on_pairs(config: UpgradeConfig, out: str | Path, progress: Progress | None = None) -> TransformRun:
    """Trains a transform on stored vectors, or resumes it, or returns it when the folder holds it already.

    The RUN keeps its verdict, see `compat_train.evaluation.verdict.read_verdict`.

    Args:
        config: Method, stored vectors and schedule; without ``source``.
        out: RUN folder.
        progress: Called after each step.

    Raises:
        ConfigError: The folder holds something else, or what the vectors are of is not told.
        DataError: Too few ids match.
        VectorError: Rows are not finite, or of no length.
        TrainingError: The loss is not finite, or the folder belongs to a run with other settings.
    """
    run = Path(out)
    told = (config.old_space, config.new_space, config.side_space)
    pairs = read_pairs(config.old, config.new, config.side, spaces=told)
    parts = pairs.parts(config.part_held_out, config.execution.seed)
    schedule, hidden = _schedule(config, len(parts.learn)), _hidden(config, pairs, len(parts.learn))
    spaces = pairs.spaces
    settings = config_to_json(replace(config, optimisation=schedule)) | {
        "hidden": hidden,
        "held_out": config.part_held_out,
        "old_space": spaces.old_space,
        "new_space": spaces.space,
        "side_space": spaces.side_space,
    }
    if finished := finished_run(run, settings, pairs.origin, TransformRun.load):
        return finished
    require_run(run, UPGRADE_RUN, settings)
    device = device_of(config.execution.device)
    torch.manual_seed(config.execution.seed)
    learnt = _rows(pairs, parts.learn, device)
    ridge = ridge_regression(learnt.joined.cpu(), learnt.new.cpu())
    transform = _network(config.method, pairs, hidden).to(device)
    if hidden >= least_width(config.method, spaces.old_dim, spaces.dim):
        start_as(ridge, transform, *learnt.inputs)
    trained = Kept(transform, _rows(pairs, parts.stop, device))
    batches = Batches(
        np.broadcast_to(np.zeros(1, np.uint8), (len(parts.learn), 1, 1, 3)),
        np.zeros(len(parts.learn), np.int64),
        batch=schedule.batch,
        seed=config.execution.seed,
        augmentation=Augmentation(),
        device=device,
    )
    steps = batches.steps_per_epoch * schedule.epochs
    fit(
        trained,
        _objective(config, trained, learnt, steps),
        batches,
        schedule,
        config.execution,
        run=run,
        settings=settings,
        origin=pairs.origin,
        stage=f"train upgrade ({config.method})",
        progress=progress,
        ended=lambda done: trained.ended(done, steps),
    )
    transform.load_state_dict(trained.best.state_dict())
    finished = TransformRun(
        path=run,
        method=config.method,
        kind="forward-transform" if config.method == "fct" else "forward-adaptation",
        spaces=spaces,
        hidden=hidden,
        license=config.license,
        config=settings,
        state=on_cpu(transform.state_dict()),
    )
    judged, labels = _rows(pairs, parts.judge, device), [pairs.labels[row] for row in parts.judge]
    if leads():
        write_verdict(run, judged.verdict(transform, ridge, labels))
        finished.save()
        ResumePoints(run).clear()
    return finished


def _objective(config: UpgradeConfig, trained: Kept, learnt: StoredRows, steps: int) -> Objective:
    weights, frozen_from = config.weights, round(config.frozen_after * steps)

    def objective(batch: Batch) -> dict[str, Tensor]:
        trained.transform.train(batch.step < frozen_from)
        transformed, target = trained.transform(*learnt.some(batch.index)), learnt.new[batch.index]
        terms: dict[str, Tensor] = {}
        if weights["l2"]:
            terms["l2"] = weights["l2"] * forward_transform_loss(transformed, target)
        if weights["regression"]:
            terms["regression"] = weights["regression"] * embedding_regression_loss(transformed, target)
        return terms

    return objective


def _network(method: str, pairs: Pairs, hidden: int) -> nn.Module:
    spaces = pairs.spaces
    if method == "fct":
        return ForwardTransform(old=spaces.old_dim, side=spaces.side_dim, new=spaces.dim, hidden=hidden)
    return ForwardAdaptation(old=spaces.old_dim, new=spaces.dim, hidden=hidden)


def _hidden(config: UpgradeConfig, pairs: Pairs, count: int) -> int:
    """One unit for eight pairs, up to the paper's width, and never too few to hold ridge regression."""
    if config.hidden is not None:
        return config.hidden
    least = least_width(config.method, pairs.spaces.old_dim, pairs.spaces.dim)
    return max(least, min(config.width, count // _PAIRS_PER_UNIT))


def _schedule(config: UpgradeConfig, count: int) -> Optimisation:
    """The paper's, with a batch that leaves eight steps to an epoch, and more weight decay where there is less data."""
    if config.optimisation is not None:
        return config.optimisation
    paper = config.schedule
    batch = min(paper.batch, max(_LEAST_BATCH, count // _STEPS_PER_EPOCH), count)
    decay = paper.weight_decay * min(_MOST_DECAY, max(1.0, _MANY / count))
    return replace(paper, batch=batch, weight_decay=decay)


def _rows(pairs: Pairs, rows: NDArray[np.int64], device: torch.device) -> StoredRows:
    """Some of the pairs, on the device."""
    old, new = (torch.from_numpy(table[rows]).to(device) for table in (pairs.old, pairs.new))
    side = () if pairs.side is None else (torch.from_numpy(pairs.side[rows]).to(device),)
    return StoredRows((old, *side), new)
