"""Training a gallery model: a large network under a classification loss (CMP-NAS, section 4.2)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from compat_sdk.progress import Progress
from compat_train.config.gallery import GalleryConfig
from compat_train.config.settings import config_to_json
from compat_train.data.batches import Batch, normalise
from compat_train.data.canvas import canvas_of
from compat_train.data.training_set import TrainingSet, load_training_set, origin_of
from compat_train.device import device_of, place
from compat_train.methods.classify import classification_loss, new_classifier, same_run
from compat_train.methods.fit_embedder import fit_embedder
from compat_train.methods.length_statistics import LengthStatistics
from compat_train.methods.sampled_classifier import SampledClassifier
from compat_train.methods.starting_weights import noted, published_weights, starting_state
from compat_train.models.build import build_model
from compat_train.parallel.group import leads, together
from compat_train.parallel.rows import over_processes
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import RUN, require_run
from compat_train.runs.resume_points import ResumePoints


@together
def train_gallery(
    config: GalleryConfig, out: str | Path, progress: Progress | None = None, *, data: TrainingSet | None = None
) -> Checkpoint:
    """Trains a gallery model, or resumes it, or returns it when the folder holds it already.

    Args:
        config: What to train, on what and how.
        out: RUN folder.
        progress: Called while images are decoded and after each step.
        data: What ``config.source`` holds, where the caller has decoded it already; crops are taken from that.

    Returns:
        The finished checkpoint. Its space is its own.

    Raises:
        ConfigError: The folder holds something else, or the network takes no images of this size.
        DataError: The dataset cannot be used, or the published weights are another network's.
        TrainingError: The loss is not finite, or the folder belongs to a run with other settings.
    """
    run = Path(out)
    published = published_weights(config)
    settings = config_to_json(config) | noted(published)
    if finished := same_run(run, settings, origin_of(config.source, data)):
        return finished
    require_run(run, RUN, settings)
    start = starting_state(config, published, dim=config.dim, size=config.preprocessing.size)
    device = device_of(config.execution.device)
    if data is None:
        canvas = canvas_of(config.augmentation, config.preprocessing)
        data = load_training_set(config.source, canvas, cache=run / "pixels", progress=progress)
    torch.manual_seed(config.execution.seed)
    embedder = build_model(config.arch, dim=config.dim, width=config.width, stem_stride=config.stem_stride)
    if start is not None:
        embedder.load_state_dict(start)
    classifier = new_classifier(len(data.classes), config.dim)
    lengths = LengthStatistics.of(config.classification)
    trained = nn.ModuleDict({"embedder": embedder, "classifier": classifier})
    if lengths is not None:
        trained["lengths"] = lengths
    place(trained, device)

    sampled = SampledClassifier(classifier, config.sampling_rate, config.execution.seed)

    def objective(batch: Batch) -> dict[str, Tensor]:
        images = normalise(batch.images, config.preprocessing).contiguous(memory_format=torch.channels_last)
        embeddings = over_processes(embedder, images)
        quality = None if lengths is None else lengths(embeddings)
        classes, labels = sampled.of(batch.labels, batch.step)
        return {"own": classification_loss(embeddings, classes, labels, config.classification, quality=quality)}

    batches = data.batches(config.optimisation, config.execution, config.augmentation, config.preprocessing, device)
    checkpoint = fit_embedder(
        trained,
        objective,
        batches,
        config,
        run=run,
        settings=settings,
        origin=data.origin,
        progress=progress,
        stage="train gallery",
        role="gallery",
        method="gallery",
        dim=config.dim,
        preprocessing=config.preprocessing,
        classification=config.classification,
        classes=data.classes,
        moved=sampled.moved,
    )
    if leads():
        checkpoint.save()
        ResumePoints(run).clear()
    return checkpoint
