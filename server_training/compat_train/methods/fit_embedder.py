"""Fitting an embedding network, with whatever is trained beside it, and making a checkpoint of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from compat_sdk.images import Preprocessing
from compat_sdk.progress import Progress
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification
from compat_train.config.query import QueryConfig
from compat_train.config.upgrade import SideInfoConfig
from compat_train.data.batches import Batches
from compat_train.data.origin import Origin
from compat_train.loop import Objective, Parts, fit
from compat_train.runs.checkpoint import Checkpoint, Role
from compat_train.runs.run_files import on_cpu
from compat_train.runs.space_name import identity_of
from compat_train.watch import Watch


def fit_embedder(
    trained: nn.ModuleDict,
    objective: Objective,
    batches: Batches,
    config: GalleryConfig | QueryConfig | SideInfoConfig,
    *,
    run: Path,
    settings: Mapping[str, Any],
    origin: Origin,
    progress: Progress | None,
    stage: str,
    role: Role,
    method: str,
    dim: int,
    preprocessing: Preprocessing,
    classification: Classification,
    classes: tuple[str, ...],
    searches: tuple[str, ...] = (),
    watch: Watch | None = None,
    moved: Parts | None = None,
    finish: Callable[[], None] | None = None,
) -> Checkpoint:
    """Trains until the schedule's end, from the newest resume point when there is one.

    Args:
        trained: All that is trained, on its device: ``embedder``, perhaps ``classifier`` (its weights are kept), and
            what only the objective knows.
        objective: Terms of the loss for a batch.
        batches: Of the training set; made before anything costly, since they check that it is large enough.
        config: Network, schedule, seed and licence.
        run: RUN folder; its resume points stay until the caller clears them.
        settings: The run's settings, as its record will have them.
        origin: What it learns from.
        progress: Called after each step.
        stage: What progress calls this.
        role: What the network is for; this and what follows goes into the checkpoint as it is.
        method: How it was trained.
        dim: Embedding dimension.
        preprocessing: From an image file to the network's input.
        classification: The loss of its classifier.
        classes: Class name of each classifier row.
        searches: Gallery spaces that it may search.
        watch: Held-out images to look at during training.
        moved: Parameters of which a step may move a part alone; see `fit`.
        finish: What is done to the trained modules, in place, after the last step.

    Returns:
        The checkpoint, not saved yet, in a space of its own.

    Raises:
        TrainingError: The loss is not finite, or the folder's training was begun with other settings or data.
    """
    fit(
        trained,
        objective,
        batches,
        config.optimisation,
        config.execution,
        run=run,
        settings=settings,
        origin=origin,
        stage=stage,
        watch=watch,
        progress=progress,
        moved=moved,
    )
    if finish is not None:
        finish()
    state = on_cpu(trained["embedder"].state_dict())
    identity = identity_of(
        state,
        arch=config.arch,
        dim=dim,
        width=config.width,
        stem_stride=config.stem_stride,
        preprocessing=preprocessing,
    )
    return Checkpoint(
        path=run,
        role=role,
        arch=config.arch,
        dim=dim,
        width=config.width,
        stem_stride=config.stem_stride,
        preprocessing=preprocessing,
        space=identity.space,
        searches=searches,
        classes=classes,
        method=method,
        classification=classification,
        license=config.license,
        config=settings,
        state=state,
        classifier=on_cpu(trained["classifier"].state_dict())["weight"] if "classifier" in trained else None,
    )
