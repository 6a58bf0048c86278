"""What every method that trains under a classification loss shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_train.config.parts import Classification
from compat_train.config.settings import changed_settings
from compat_train.data.origin import Origin
from compat_train.losses.adaface import adaptive_margin_loss
from compat_train.losses.margin import angular_margin_loss, cosine_margin_loss, norm_softmax_loss
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.data_record import require_same_data
from compat_train.runs.run_files import RECORD
from compat_train.runs.transform_run import TransformRun

RunT = TypeVar("RunT", Checkpoint, TransformRun)


def new_classifier(classes: int, dim: int) -> nn.Linear:
    """A bias-free last layer, kappa of CMP-NAS: one weight row of length ``dim`` per class."""
    classifier = nn.Linear(dim, classes, bias=False)
    nn.init.normal_(classifier.weight, std=dim**-0.5)
    return classifier


def classification_loss(
    embeddings: Tensor,
    classifier: Tensor,
    labels: Tensor,
    chosen: Classification,
    *,
    quality: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """The loss L1 of CMP-NAS, Eq. 1, as the configuration chooses it; see `compat_train.losses.margin`.

    Embeddings and class weights are normalised in all of them, so BCT under it is the normalised form, which its
    public code has as an option and reports to be better. ``quality`` is that of each image, output of
    `LengthStatistics`, which adaface alone looks at.
    """
    margin, scale = chosen.margin, chosen.scale
    if chosen.loss == "norm-softmax":
        return norm_softmax_loss(embeddings, classifier, labels, temperature=1 / scale, reduction=reduction)
    if chosen.loss == "adaface":
        return adaptive_margin_loss(
            embeddings, classifier, labels, quality, margin=margin, scale=scale, reduction=reduction
        )
    if chosen.loss == "arcface":
        return angular_margin_loss(embeddings, classifier, labels, margin=margin, scale=scale, reduction=reduction)
    return cosine_margin_loss(embeddings, classifier, labels, margin=margin, scale=scale, reduction=reduction)


def same_run(run: Path, settings: Mapping[str, Any], origin: Origin) -> Checkpoint | None:
    """The finished checkpoint of a folder, when it was trained so and on the same data; None when unfinished.

    Raises:
        TrainingError: The folder holds a model trained with other settings or on other data.
    """
    return finished_run(run, settings, origin, Checkpoint.load)


def finished_run(run: Path, settings: Mapping[str, Any], origin: Origin, load: Callable[[Path], RunT]) -> RunT | None:
    """What ``load`` finds in a folder, when it was trained so and on the same data; None when unfinished.

    Raises:
        TrainingError: The folder holds a model trained with other settings or on other data, or one of another role.
    """
    if not (run / RECORD).is_file():
        return None
    finished = load(run)
    if changes := changed_settings(finished.config, settings):
        raise TrainingError(
            f"{run} already holds a model trained with other settings: {changes}; train into another folder, or "
            f"delete it"
        )
    require_same_data(run, origin)
    return finished
