"""Accuracies after every epoch of one training, as seed 002, section 3.2, reads them off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compat_sdk.files import write_json_atomic
from compat_sdk.preprocess import Preprocessing
from compat_train.checkpoint import Checkpoint, ResumePoints
from compat_train.embed import embed_images
from compat_train.models.build import build_model
from compat_train.models.global_space import GlobalMember
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.evaluate import train_network
from compat_train.nas.global_nas.images import SearchImages


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
        found.append(float(checkpoint_hits(checkpoint, images.queries, images.query_labels).mean()))
        write_json_atomic(kept, found)
    return found


def _judged(config: GlobalConfig, member: GlobalMember, run: Path, images: SearchImages, step: int) -> float:
    """Accuracy of the newest resume point, which must be that of ``step``."""
    newest = ResumePoints(run).newest()
    assert newest is not None and newest[0] == step, "there is no resume point at the end of the epoch"
    weights = {name.removeprefix("model."): value for name, value in newest[1].items() if name.startswith("model.")}
    training = config.training(member.name, 1)
    model = build_model(member.name, dim=config.dim or 128, stem_stride=config.stem_stride)
    model.load_state_dict(
        {name.removeprefix("embedder."): value for name, value in weights.items() if name.startswith("embedder.")}
    )
    rows = weights["classifier.weight"]
    return float(
        hits(model, rows, images.data.classes, training.preprocessing, images.queries, images.query_labels).mean()
    )


def checkpoint_hits(checkpoint: Checkpoint, pixels: NDArray[np.uint8], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each image's class has the highest cosine of all rows of the network's classifier."""
    assert checkpoint.classifier is not None  # networks of a search for accuracy have one
    return hits(checkpoint.build(), checkpoint.classifier, checkpoint.classes, checkpoint.preprocessing, pixels, labels)


def hits(
    model: torch.nn.Module,
    classifier: torch.Tensor,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    pixels: NDArray[np.uint8],
    labels: Sequence[str],
) -> NDArray[np.bool_]:
    """The same of a network and its classifier."""
    embeddings = embed_images(model.eval(), pixels, preprocessing, channels_last=True)
    rows = torch.nn.functional.normalize(classifier).numpy()
    found: NDArray[np.bool_] = np.array(classes)[(embeddings @ rows.T).argmax(1)] == np.array(labels)
    return found
