"""Settings that are left to the training: which method, and what a class is without a classifier."""

from __future__ import annotations

from dataclasses import replace

from compat_train.config.training import QueryConfig
from compat_train.data.training_set import TrainingSet
from compat_train.methods.gallery_vectors import GalleryVectors
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.choices import Choice


def choose(
    config: QueryConfig, gallery: Checkpoint, data: TrainingSet, vectors: GalleryVectors | None
) -> tuple[QueryConfig, tuple[Choice, ...]]:
    """The training with nothing left open, and what was chosen.

    Method "auto" is bct-regression where the images have labels that the gallery model's classifier knows; it uses all
    there is. Without labels or without a classifier it is csd on centred targets.
    A term under the gallery model's classifier takes class means for it where there is none, unless told otherwise.

    Args:
        config: As it was told.
        gallery: The gallery model.
        data: Training images.
        vectors: The gallery model's vectors of training images; needed for "auto" where `needs_vectors` says so.
    """
    choices = []
    if config.method == "auto":
        if knows_classes(gallery, data):
            config = config.taking("bct-regression")
            because = "the images have labels and the gallery model has a classifier for them"
        else:
            assert vectors is not None  # made where a classifier is missing
            config = config.taking("csd")
            lack = _lack(gallery, data)
            length = float(vectors.mean.norm())
            because = f"{lack}; the gallery's vectors share a mean of length {length:.2f}, which it takes off"
        choices.append(Choice("method", config.method, because))
    if config.term_weights["gallery"] and gallery.classifier is None and config.unseen is None:
        config = replace(config, unseen="all-prototypes")
        choices.append(
            Choice(
                "unseen", "all-prototypes", "the gallery model has no classifier; class means of its vectors stand in"
            )
        )
    return config, tuple(choices)


def _lack(gallery: Checkpoint, data: TrainingSet) -> str:
    if not data.has_labels:
        return "the images have no labels"
    if gallery.classifier is None:
        return "the gallery model has no classifier"
    return "the gallery model knows none of the classes"


def knows_classes(gallery: Checkpoint, data: TrainingSet) -> bool:
    """Whether some training class has a row in the gallery model's classifier."""
    return gallery.classifier is not None and data.has_labels and bool(set(data.classes) & set(gallery.classes))
