"""How good a network of a global search is: trained as any other network, and judged by the search's objective."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import TrainingError
from compat_sdk.outputs import delete_own
from compat_sdk.progress import Progress
from compat_train.config.gallery import GalleryConfig
from compat_train.data.training_set import TrainingSet
from compat_train.device import device_of, torch_threads
from compat_train.embed import embed_images
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.models.global_space import GlobalMember
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.images import SearchImages
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import QUERY_RUN


class CandidateTrainer:
    """Trains candidates, each in a RUN folder of its own, and says how good they are.

    A training that was stopped goes on where it was. A folder stays until `discard`, so that no score is lost between
    the end of a training and the log.
    """

    def __init__(
        self, config: GlobalConfig, images: SearchImages, folder: Path, progress: Progress | None = None
    ) -> None:
        """Keeps RUN folders in ``folder``."""
        # A candidate's licence is nobody's: a search goes on with another one.
        self._config, self._images = replace(config, license="unspecified"), images
        self._folder, self._progress = folder, progress

    def __call__(self, member: GlobalMember, epochs: int) -> float:
        """The network's accuracy after so many epochs, in [0, 1], by the objective of the search.

        Raises:
            DivergedError: The loss or a weight is not finite.
        """
        facts = {"layers": float(member.depth), "width": float(member.width), "epochs": float(epochs)}
        checkpoint = train_network(
            self._config,
            member.name,
            epochs,
            self._run(member, epochs),
            self._images.data,
            renamed(self._progress, "train candidate", facts),
        )
        return accuracy(self._config, checkpoint, self._images)

    def begun(self, member: GlobalMember, epochs: int) -> bool:
        """Whether a training of this candidate was begun before, and its score is not in the log."""
        return self._run(member, epochs).is_dir()

    def discard(self, member: GlobalMember, epochs: int) -> None:
        """Deletes the RUN folder of a candidate whose score is in the log."""
        delete_own(self._run(member, epochs), QUERY_RUN)

    def _run(self, member: GlobalMember, epochs: int) -> Path:
        digest = hashlib.sha256(member.name.encode()).hexdigest()[:12]
        return self._folder / f"{member.depth}x{member.width}-{digest}-{epochs}"


def train_network(
    config: GlobalConfig, arch: str, epochs: int, run: Path, data: TrainingSet, progress: Progress | None = None
) -> Checkpoint:
    """Trains a network as the search does, or resumes it, or returns it when it is finished.

    Args:
        config: Of the search.
        arch: Architecture name.
        epochs: Passes over the images.
        run: RUN folder.
        data: Decoded images.
        progress: Called after each step.
    """
    training = config.training(arch, epochs)
    if isinstance(training, GalleryConfig):
        return train_gallery(training, run, progress, data=data)
    return train_query(training, run, progress, data=data)


def accuracy(config: GlobalConfig, checkpoint: Checkpoint, images: SearchImages) -> float:
    """What the objective says of a trained network on the images that judge, in [0, 1].

    Classification: share of images with the right class. Retrieval: M(q,q), by the search's metric. r3: M(q,q) times
    M(q,g), with the gallery model's embeddings of the gallery images.
    """
    if config.objective == "accuracy":
        return classification_accuracy(config, checkpoint, images.queries, images.query_labels)
    with torch_threads(config.execution.threads or None):
        queries, own = (_embedded(config, checkpoint, pixels) for pixels in (images.queries, images.gallery))
        labels = images.query_labels, images.gallery_labels
        metric = config.accuracy
        score = metric.values(queries, labels[0], own, labels[1]).mean()
        if images.gallery_embeddings is not None:
            score *= metric.values(queries, labels[0], images.gallery_embeddings, labels[1]).mean()
        return float(score)


def classification_accuracy(
    config: GlobalConfig, checkpoint: Checkpoint, pixels: NDArray[np.uint8], labels: Sequence[str]
) -> float:
    """Share of images whose class has the highest cosine of all rows of the network's classifier.

    Args:
        config: Where to run.
        checkpoint: The network and its classifier.
        pixels: uint8 ``[n, size, size, 3]``, at least one.
        labels: Class name of each; one that the classifier lacks counts as wrong.

    Raises:
        TrainingError: The network has no classifier.
    """
    with torch_threads(config.execution.threads or None):
        return float(classified(checkpoint, pixels, labels, device=config.execution.device).mean())


def classified(
    checkpoint: Checkpoint, pixels: NDArray[np.uint8], labels: Sequence[str], *, device: str = "cpu"
) -> NDArray[np.bool_]:
    """Whether each image's class has the highest cosine of all rows of the network's classifier, bool ``[n]``.

    Args:
        checkpoint: The network and its classifier.
        pixels: uint8 ``[n, size, size, 3]``, at least one.
        labels: Class name of each; one that the classifier lacks counts as wrong.
        device: Where to run.

    Raises:
        TrainingError: The network has no classifier.
    """
    if checkpoint.classifier is None:
        raise TrainingError(f"{checkpoint.path} has no classifier; expected a network trained with one")
    embeddings = embed_images(
        checkpoint.build(), pixels, checkpoint.preprocessing, device=device_of(device), channels_last=True
    )
    rows = checkpoint.classifier.numpy()
    best = (embeddings @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T).argmax(1)
    numbers = {name: number for number, name in enumerate(checkpoint.classes)}
    hits: NDArray[np.bool_] = best == np.array([numbers.get(label, -1) for label in labels])
    return hits


def renamed(progress: Progress | None, stage: str, facts: Mapping[str, float] | None = None) -> Progress | None:
    """The same callback under another stage, with some figures added."""
    if progress is None:
        return None
    call = progress  # known not to be None inside

    def report(_: str, done: int, total: int, values: Mapping[str, float]) -> None:
        call(stage, done, total, {**values, **(facts or {})})

    return report


def _embedded(config: GlobalConfig, checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    device = device_of(config.execution.device)
    return embed_images(checkpoint.build(), pixels, checkpoint.preprocessing, device=device, channels_last=True)
