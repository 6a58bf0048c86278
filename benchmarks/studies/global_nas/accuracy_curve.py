"""Accuracies after every epoch of one training, as the paper Global NAS reads them off in section 3.2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from compat_sdk.files.documents import write_json_atomic
from compat_train.config.gallery import GalleryConfig
from compat_train.models.global_space import GlobalMember
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.evaluate import classification_accuracy, train_network
from compat_train.nas.global_nas.images import SearchImages
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.resume_points import ResumePoints


class StoppedError(Exception):
    """Stops a training."""


def accuracy_curve(
    config: GlobalConfig, member: GlobalMember, epochs: int, run: Path, images: SearchImages
) -> list[float]:
    """Trains a network once, and says how accurate it is on the images that judge after each epoch.

    The training is stopped one step into each epoch, when the resume point of the epoch before has been written, is
    judged by that point, and resumed from it. What was judged is kept in ``curve.json``.

    Args:
        config: Of a search for accuracy.
        member: The network.
        epochs: Of the training.
        run: RUN folder.
        images: What teaches and what judges.
    """
    kept = run / "curve.json"
    found: list[float] = json.loads(kept.read_text()) if kept.is_file() else []
    steps = len(images.data.labels) // config.optimisation.batch
    while len(found) < epochs - 1:
        stop = (len(found) + 1) * steps + 1

        def progress(stage: str, done: int, total: int, values: Mapping[str, float], stop: int = stop) -> None:
            if done == stop:
                raise StoppedError

        try:
            train_network(config, member.name, epochs, run, images.data, progress)
        except StoppedError:
            found.append(_judged(config, member, run, images, step=stop - 1))
            write_json_atomic(kept, found)
        else:
            raise AssertionError(f"{run} was finished before it was judged")
    if len(found) < epochs:
        checkpoint = train_network(config, member.name, epochs, run, images.data)
        found.append(classification_accuracy(config, checkpoint, images.queries, images.query_labels))
        write_json_atomic(kept, found)
    return found


def _judged(config: GlobalConfig, member: GlobalMember, run: Path, images: SearchImages, step: int) -> float:
    """Accuracy of the newest resume point, which must be that of ``step``."""
    newest = ResumePoints(run).newest()
    assert newest is not None and newest[0] == step, "there is no resume point at the end of the epoch"
    tensors = newest[1]
    training = config.training(member.name, 1)
    assert isinstance(training, GalleryConfig)  # accuracy trains networks by themselves
    start = "model.embedder."
    checkpoint = Checkpoint(
        path=run,
        role="gallery",
        arch=member.name,
        dim=training.dim,
        width=training.width,
        stem_stride=training.stem_stride,
        preprocessing=training.preprocessing,
        space="",
        searches=(),
        classes=images.data.classes,
        method="gallery",
        classification=training.classification,
        license=training.license,
        config={},
        state={name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)},
        classifier=tensors["model.classifier.weight"],
    )
    return classification_accuracy(config, checkpoint, images.queries, images.query_labels)
