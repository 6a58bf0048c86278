"""What every method that trains under a classification loss shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_train.checkpoint import Checkpoint
from compat_train.config import Classification
from compat_train.losses.margin import cosine_margin_loss, norm_softmax_loss


def new_classifier(classes: int, dim: int) -> nn.Linear:
    """A bias-free last layer, kappa of seed 000: one weight row of length ``dim`` per class."""
    classifier = nn.Linear(dim, classes, bias=False)
    nn.init.normal_(classifier.weight, std=dim**-0.5)
    return classifier


def classification_loss(embeddings: Tensor, classifier: Tensor, labels: Tensor, chosen: Classification) -> Tensor:
    """The loss L1 of seed 000, Eq. 1, as the configuration chooses it; see `compat_train.losses.margin`."""
    if chosen.loss == "norm-softmax":
        return norm_softmax_loss(embeddings, classifier, labels, temperature=1 / chosen.scale)
    return cosine_margin_loss(embeddings, classifier, labels, margin=chosen.margin, scale=chosen.scale)


def same_run(run: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """The finished checkpoint of a folder, when it was trained with the same settings; None when unfinished.

    Raises:
        TrainingError: The folder holds a model trained with other settings.
    """
    if not (run / "model.json").is_file():
        return None
    finished = Checkpoint.load(run)
    if finished.config != json.loads(json.dumps(settings)):
        raise TrainingError(
            f"{run} already holds a model trained with other settings; train into another folder, or delete it"
        )
    return finished
