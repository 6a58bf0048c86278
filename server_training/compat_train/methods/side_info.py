"""Training the encoder whose embeddings, stored beside the old model's, make a later upgrade better (FCT)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_sdk.progress import Progress
from compat_train.config.parts import Augmentation
from compat_train.config.settings import config_to_json
from compat_train.config.upgrade import SideInfoConfig
from compat_train.data.augment import augment
from compat_train.data.batches import Batch, normalise
from compat_train.data.training_set import TrainingSet, load_training_set, origin_of
from compat_train.device import device_of, place
from compat_train.loop import Objective
from compat_train.losses.reconstruction import reconstruction_loss
from compat_train.losses.simclr import nt_xent_loss
from compat_train.methods.classify import classification_loss, new_classifier, same_run
from compat_train.methods.fit_embedder import fit_embedder
from compat_train.methods.length_statistics import LengthStatistics
from compat_train.methods.starting_weights import starting_state
from compat_train.models.build import build_model
from compat_train.models.decoder import Decoder
from compat_train.models.projection import ProjectionHead
from compat_train.parallel.group import leads, together
from compat_train.parallel.rows import over_processes
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import RUN, require_run
from compat_train.runs.resume_points import ResumePoints


@together
def train_side_info(
    config: SideInfoConfig, out: str | Path, progress: Progress | None = None, *, data: TrainingSet | None = None
) -> Checkpoint:
    """Trains a side-information encoder, or resumes it, or returns it when the folder holds it already.

    Its embeddings, of unit norm as galleries store them, are the side-information psi(x).

    Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805, sections
    3.4 and 5.1.

    Args:
        config: Method, network, data and schedule. The data is the old model's: the new one is not known yet.
        out: RUN folder.
        progress: Called while images are decoded and after each step.
        data: What ``config.source`` holds, where the caller has decoded it already.

    Returns:
        The finished checkpoint, role ``side-info``, in a space of its own. It has classes and a classifier when
        its method looks at labels.

    Raises:
        ConfigError: The folder holds something else.
        DataError: The dataset cannot be used.
        TrainingError: The loss is not finite, or the folder belongs to a run with other settings.
    """
    run = Path(out)
    settings = config_to_json(config) | {"role": "side-info"}
    if finished := same_run(run, settings, origin_of(config.source, data)):
        return finished
    require_run(run, RUN, settings)
    starting_state(config, None, dim=config.dim, size=config.preprocessing.size)
    device = device_of(config.execution.device)
    if data is None:
        labels_for = f"method {config.method!r}" if config.labelled else None
        data = load_training_set(
            config.source, config.preprocessing, cache=run / "pixels", progress=progress, labels_for=labels_for
        )
    torch.manual_seed(config.execution.seed)
    embedder = build_model(config.arch, dim=config.dim, width=config.width, stem_stride=config.stem_stride)
    trained = nn.ModuleDict({"embedder": embedder})
    classifier = None
    if config.method == "simclr":
        trained["head"] = ProjectionHead(config.dim, config.projection)
    elif config.method == "autoencoder":
        trained["decoder"] = Decoder(dim=config.dim, size=config.preprocessing.size, channels=config.channels)
    else:
        trained["classifier"] = classifier = new_classifier(len(data.classes), config.dim)
        if (lengths := LengthStatistics.of(config.classification)) is not None:
            trained["lengths"] = lengths
    place(trained, device)
    # SimCLR takes two views of each image itself.
    views = Augmentation() if config.method == "simclr" else config.random_views
    batches = data.batches(config.optimisation, config.execution, views, config.preprocessing, device)
    checkpoint = fit_embedder(
        trained,
        _objective(config, trained, classifier),
        batches,
        config,
        run=run,
        settings=settings,
        origin=data.origin,
        progress=progress,
        stage=f"train side-info ({config.method})",
        role="side-info",
        method=config.method,
        dim=config.dim,
        preprocessing=config.preprocessing,
        classification=config.classification,
        classes=data.classes if config.labelled else (),
    )
    if leads():
        checkpoint.save()
        ResumePoints(run).clear()
    return checkpoint


def _objective(config: SideInfoConfig, trained: nn.ModuleDict, classifier: nn.Linear | None) -> Objective:
    def network_input(images: Tensor) -> Tensor:
        return normalise(images, config.preprocessing).contiguous(memory_format=torch.channels_last)

    def embed(images: Tensor) -> Tensor:
        return over_processes(trained["embedder"], network_input(images))

    def quality_of(embeddings: Tensor) -> Tensor | None:
        return trained["lengths"](embeddings) if "lengths" in trained else None

    def classified(embeddings: Tensor, labels: Tensor, told: Tensor | None) -> Tensor:
        assert classifier is not None  # every labelled method has one
        return classification_loss(embeddings, classifier.weight, labels, config.classification, quality=told)

    def simclr(batch: Batch) -> dict[str, Tensor]:
        # One after the other from the step's generator: two independent views.
        views = [
            augment(batch.images, config.random_views, batch.generator, mean=config.preprocessing.mean)[0]
            for _ in range(2)
        ]
        inputs = network_input(torch.cat(views))
        first, second = over_processes(lambda rows: trained["head"](trained["embedder"](rows)), inputs).chunk(2)
        return {"simclr": nt_xent_loss(first, second, temperature=config.temperature)}

    def autoencoder(batch: Batch) -> dict[str, Tensor]:
        # What is stored has unit norm, so the decoder gets no more than that.
        images = over_processes(
            lambda rows: trained["decoder"](F.normalize(trained["embedder"](rows))), network_input(batch.images)
        )
        return {"reconstruction": reconstruction_loss(batch.images, images)}

    def alternate(batch: Batch) -> dict[str, Tensor]:
        embeddings = embed(batch.images)
        return {"own": classified(embeddings, batch.labels, quality_of(embeddings))}

    def mixup(batch: Batch) -> dict[str, Tensor]:
        share, partner = mixing_of(batch, config.mixing)
        embeddings = embed(batch.images.lerp(batch.images[partner], 1 - share))
        told = quality_of(embeddings)
        own = classified(embeddings, batch.labels, told)
        if not config.mix_labels:
            return {"own": own}
        return {"own": share * own, "partner": (1 - share) * classified(embeddings, batch.labels[partner], told)}

    objectives: dict[str, Callable[[Batch], dict[str, Tensor]]] = {
        "simclr": simclr,
        "autoencoder": autoencoder,
        "alternate": alternate,
        "mixup": mixup,
    }
    return objectives[config.method]


def mixing_of(batch: Batch, mixing: float) -> tuple[float, Tensor]:
    """How a batch is mixed with itself: each image's own share, and who its partner is.

    The share is the larger of lambda and 1 - lambda, so that the image's own label, which FCT keeps, stays the
    better one; together with a random partner this mixes the same pairs as lambda itself.

    Source: Zhang et al., mixup, ICLR 2018, https://arxiv.org/abs/1710.09412, section 2, one lambda per batch as in
    its code; FCT, section 5.1 ("Mixup augmentation applied only on images").

    Args:
        batch: Its generator is drawn from.
        mixing: Both parameters of the Beta distribution, above 0.

    Returns:
        A share in [0.5, 1], and int64 ``[n]``, a permutation of the batch on its device.
    """
    seed = int(torch.randint(2**62, (1,), generator=batch.generator))
    share = float(np.random.default_rng(seed).beta(mixing, mixing))
    partner = torch.randperm(len(batch.images), generator=batch.generator)
    return max(share, 1 - share), partner.to(batch.images.device)
