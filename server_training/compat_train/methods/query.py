"""Training a model against a fixed one: a query model for a gallery (seed 000), or a new for an old (seed 003)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from compat_sdk.files import make_folder
from compat_sdk.progress import Progress
from compat_sdk.space import TransformSpaces
from compat_train.config.training import QueryConfig, config_to_json
from compat_train.data.training_set import TrainingSet, load_training_set, origin_of
from compat_train.device import device_of, place
from compat_train.methods.classify import new_classifier, same_run
from compat_train.methods.fit_embedder import fit_embedder
from compat_train.methods.inherit import inherit
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.models.build import build_model
from compat_train.models.transform import ForwardAdaptation
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import QUERY_RUN, require_run
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import on_cpu
from compat_train.runs.transform_run import TransformRun

ADAPTATION = "adaptation"
"""Folder in the RUN of a new model with DMU's psi."""


def train_query(
    config: QueryConfig, out: str | Path, progress: Progress | None = None, *, data: TrainingSet | None = None
) -> Checkpoint:
    """Trains a model against a gallery run, or resumes it, or returns it when it is finished.

    Args:
        config: Method, network, data and schedule. The embedding dimension and the preprocessing are the
            gallery model's.
        out: RUN folder.
        progress: Called while images are decoded and after each step.
        data: What ``config.source`` holds, where the caller has decoded it for the gallery model already.

    Returns:
        The finished checkpoint, in a space of its own whatever its role. It declares that it searches the gallery's
        space when the method draws it there (every method but vanilla and kd). Method dmu leaves its forward
        adaptation in the folder ``adaptation`` of the RUN, a RUN of its own.

    Raises:
        ConfigError: The folder holds something else.
        DataError: The dataset cannot be used.
        TrainingError: The gallery run cannot serve the method or the starting weights, or the loss is not finite.
    """
    run = Path(out)
    gallery = Checkpoint.load(config.gallery)
    settings = config_to_json(config) | {"gallery_space": gallery.space}
    if finished := same_run(run, settings, origin_of(config.source, data)):
        return finished
    require_run(run, QUERY_RUN, settings)
    weights = config.weights
    device = device_of(config.execution.device)
    if data is None:
        data = load_training_set(config.source, gallery.preprocessing, cache=run / "pixels", progress=progress)
    rows = gallery_rows(config, gallery, data)
    torch.manual_seed(config.execution.seed)
    embedder = build_model(config.arch, dim=gallery.dim, width=config.width, stem_stride=config.stem_stride)
    classifier = new_classifier(len(data.classes), gallery.dim)
    trained = nn.ModuleDict({"embedder": embedder})
    if weights["own"] or weights["kd"] or weights["alignment"] or weights["adaptation"]:
        trained["classifier"] = classifier
    psi = None
    if weights["adaptation"]:
        psi = ForwardAdaptation(old=gallery.dim, new=gallery.dim, hidden=config.adaptation_width)
        trained["adaptation"] = psi
    place(trained, device)
    if config.inheritance != "none":
        kappa_q = classifier if config.method == "finetune" else None
        inherit(embedder, kappa_q, gallery, data.classes, config.inheritance, data.pixels)
    batches = data.batches(config.optimisation, config.execution, config.augmentation, gallery.preprocessing, device)
    objective = compatibility_objective(
        config, gallery, data, lambda inputs, _: embedder(inputs), classifier, rows, device, psi
    )
    checkpoint = fit_embedder(
        trained,
        objective,
        batches,
        config,
        run=run,
        settings=settings,
        origin=data.origin,
        progress=progress,
        stage=f"train query ({config.method})",
        role=config.role,
        method=config.method,
        dim=gallery.dim,
        preprocessing=gallery.preprocessing,
        classification=config.classification or gallery.classification,
        classes=data.classes,
        searches=(gallery.space,) if config.compatible else (),
    )
    if psi is not None:
        _save_adaptation(config, checkpoint, gallery, psi)
    checkpoint.save()
    ResumePoints(run).clear()
    return checkpoint


def _save_adaptation(config: QueryConfig, new: Checkpoint, old: Checkpoint, psi: nn.Module) -> None:
    """Writes psi, from the old model's space into the new one's, as a RUN inside the new model's."""
    folder = new.path / ADAPTATION
    make_folder(folder)
    TransformRun(
        path=folder,
        method="dmu",
        kind="forward-adaptation",
        spaces=TransformSpaces(old.space, old.dim, None, None, new.space, new.dim),
        hidden=config.adaptation_width,
        license=config.license,
        config=new.config,
        state=on_cpu(psi.state_dict()),
    ).save()
