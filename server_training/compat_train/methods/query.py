"""Training a model against a fixed one: a query model for a gallery (CMP-NAS), or a new for an old (DMU)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compat_sdk.files.atomic import make_folder
from compat_sdk.outputs import delete_own, require_own
from compat_sdk.progress import Progress
from compat_sdk.space import TransformSpaces
from compat_train.adoption.opening import open_gallery_model
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_to_json
from compat_train.data.canvas import canvas_of
from compat_train.data.training_set import TrainingSet, load_training_set, origin_of
from compat_train.device import device_of, place
from compat_train.losses.centred import centred
from compat_train.methods.centred_output import Cone, write_mean
from compat_train.methods.choose import choose, needs_vectors
from compat_train.methods.classify import new_classifier, same_run
from compat_train.methods.fit_embedder import fit_embedder
from compat_train.methods.gallery_vectors import gallery_vectors
from compat_train.methods.inherit import inherit
from compat_train.methods.length_statistics import LengthStatistics
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.methods.ridge import start_by_ridge
from compat_train.methods.sampled_classifier import SampledClassifier
from compat_train.methods.shown import plain_images, shown_images
from compat_train.methods.starting_weights import noted, published_weights, starting_state
from compat_train.methods.watched import watch_of, watched_images
from compat_train.models.build import build_model
from compat_train.models.last_layer import last_linear
from compat_train.models.transform import ForwardAdaptation
from compat_train.parallel.group import leads, together
from compat_train.parallel.rows import over_processes
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.choices import write_choices
from compat_train.runs.layout import ADAPTATION, EMBEDDINGS, QUERY_RUN, require_run
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import on_cpu
from compat_train.runs.transform_run import TransformRun


@together
def train_query(
    config: QueryConfig, out: str | Path, progress: Progress | None = None, *, data: TrainingSet | None = None
) -> Checkpoint:
    """Trains a model against a gallery run, or resumes it, or returns it when it is finished.

    Args:
        config: Method, network, data and schedule. The embedding dimension is the gallery model's, and so is the
            preprocessing where ``config.preprocessing`` says no other.
        out: RUN folder.
        progress: Called while images are decoded and after each step.
        data: What ``config.source`` holds, where the caller has decoded it for the gallery model already.

    Returns:
        The finished checkpoint, in a space of its own whatever its role. It declares that it searches the gallery's
        space when the method draws it there (every method but vanilla and kd). Method dmu leaves its forward
        adaptation in the folder ``adaptation`` of the RUN, a RUN of its own.

    Raises:
        ConfigError: The folder holds something else, or the network takes no images of the gallery model's size.
        DataError: The dataset cannot be used, or the published weights are another network's.
        TrainingError: The gallery run cannot serve the method or the starting weights, or the loss is not finite.
    """
    run = Path(out)
    gallery = open_gallery_model(config.gallery)
    published = published_weights(config)
    settings = config_to_json(config) | {"gallery_space": gallery.space} | noted(published)
    watched, held_out = watched_images(config)
    if held_out:
        data = None  # what the caller has decoded holds them
    if finished := same_run(run, settings, origin_of(config.source, data, without=held_out)):
        return finished
    require_run(run, QUERY_RUN, settings)
    own = config.preprocessing or gallery.preprocessing
    canvas_of(config.augmentation, own, gallery.preprocessing)  # refuses one that is too small before any work
    start = starting_state(config, published, dim=gallery.dim, size=own.size)
    kept = run / "embeddings"
    if config.teacher_outputs is not None:
        kept = Path(config.teacher_outputs)
        if leads():
            require_own(kept, EMBEDDINGS, "a training that keeps the gallery model's outputs")
    device = device_of(config.execution.device)
    if data is None:
        data = load_training_set(
            config.source,
            gallery.preprocessing,
            cache=run / "pixels",
            progress=progress,
            without=held_out,
            labels_for=f"method {config.method!r}" if config.needs_labels else None,
        )
    vectors = None
    if _needs_vectors(config, gallery, data):
        vectors = gallery_vectors(gallery, data, device, seed=config.execution.seed, kept=kept)
    config, choices = choose(config, gallery, data, vectors)
    if leads():
        write_choices(run, choices)
    if progress is not None:
        for choice in choices:
            progress(str(choice), 1, 1, {})
    weights = config.term_weights
    rows = gallery_rows(config, gallery, data)
    torch.manual_seed(config.execution.seed)
    embedder = build_model(config.arch, dim=gallery.dim, width=config.width, stem_stride=config.stem_stride)
    if start is not None:
        embedder.load_state_dict(start)
    classifier = new_classifier(max(1, len(data.classes)), gallery.dim)  # nobody uses it without classes
    trained = nn.ModuleDict({"embedder": embedder})
    if weights["own"] or weights["kd"] or weights["alignment"] or weights["adaptation"]:
        trained["classifier"] = classifier
    psi = None
    if weights["adaptation"]:
        psi = ForwardAdaptation(old=gallery.dim, new=gallery.dim, hidden=config.adaptation_width)
        trained["adaptation"] = psi
    lengths = LengthStatistics.of(config.classification or gallery.classification)
    if lengths is not None:
        trained["lengths"] = lengths
    place(trained, device)
    if config.inheritance != "none":
        kappa_q = classifier if config.method == "finetune" else None
        inherit(embedder, kappa_q, gallery, data.classes, config.inheritance, data.pixels)
    shown = shown_images(config, gallery, data, cache=run / "pixels", kept=kept, without=held_out, progress=progress)
    batches = shown.seen.batches(config.optimisation, config.execution, config.augmentation, own, device)

    def plain() -> NDArray[np.uint8]:
        return plain_images(config, gallery, data, cache=run / "pixels", without=held_out, progress=progress)

    if config.start == "ridge":
        assert vectors is not None  # made for it
        targets = centred(vectors.vectors, vectors.mean) if config.centred else vectors.vectors
        start_by_ridge(embedder, plain(), vectors.images.numpy(), targets, own, device)
    cone = None
    if config.centred:
        assert vectors is not None  # made for it
        last_linear(embedder)
        cone = Cone.around(vectors.vectors, vectors.mean)
    # Distillation and alignment look at every class weight.
    rate = 1.0 if weights["kd"] or weights["alignment"] else config.sampling_rate
    sampled = SampledClassifier(classifier, rate, config.execution.seed)
    objective = compatibility_objective(
        config,
        gallery,
        data,
        lambda inputs, _: over_processes(embedder, inputs),
        classifier,
        rows,
        device,
        psi,
        vectors,
        shown,
        progress,
        sampled,
        lengths,
    )
    watch = None
    if watched is not None and leads():
        complete = None if cone is None else cone.complete
        watch = watch_of(watched, embedder, own, gallery, vectors, device, complete)

    def finish() -> None:
        if cone is not None and vectors is not None:
            if "classifier" in trained:
                del trained["classifier"]  # it was trained on vectors without the mean
            write_mean(embedder, cone, plain(), vectors.images.numpy(), own, device)

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
        watch=watch,
        moved=sampled.moved,
        finish=finish,
        role=config.role,
        method=config.method,
        dim=gallery.dim,
        preprocessing=own,
        classification=config.classification or gallery.classification,
        classes=data.classes,
        searches=(gallery.space,) if config.compatible else (),
    )
    if leads():
        if psi is not None:
            _save_adaptation(config, checkpoint, gallery, psi)
        checkpoint.save()
        ResumePoints(run).clear()
        if config.teacher_outputs is None and kept.is_dir():
            delete_own(kept, EMBEDDINGS)
    return checkpoint


def _needs_vectors(config: QueryConfig, gallery: Checkpoint, data: TrainingSet) -> bool:
    """Whether something asks for the gallery model's vectors of plain training images."""
    return config.start == "ridge" or bool(config.watch and not data.has_labels) or needs_vectors(config, gallery, data)


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
