"""Settings that are left to the training: which method, and what a class is without a classifier.

Why csd: of the methods without labels it came furthest at equal steps. M(q,q) / M(q,g) at top-1 of 600 unseen drawings,
from 6,000 views of 2,000 others, 12 epochs, one seed; a pretrained ResNet as gallery model (M(g,g) 95.8), a small
perceptron on 16 x 16 pixels as query model, which adds the mean again where targets lost it:

    regression 40.5 / 4.7     centred 50.5 / 10.0     aml, centred 57.8 / 13.2     infonce, centred 61.0 / 18.5
    csd 64.7 / 16.3           csd, centred 69.2 / 18.8     csd and a quarter of infonce, centred 69.3 / 19.8
"""

from __future__ import annotations

from dataclasses import replace

from compat_train.config.query import QueryConfig
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
        vectors: The gallery model's vectors of training images, of which "auto" tells how far they share a direction;
            None where only the choice is asked for.
    """
    choices = []
    if config.method == "auto":
        if _knows_classes(gallery, data):
            config = config.taking("bct-regression")
            because = "the images have labels and the gallery model has a classifier for them"
        else:
            config = config.taking("csd")
            because = _lack(gallery, data)
            if vectors is not None:
                length = float(vectors.mean.norm())
                because += f"; the gallery's vectors share a mean of length {length:.2f}, which it takes off"
        choices.append(Choice("method", config.method, because))
    if _takes_class_means(config, gallery):
        # Within a narrow cone class means are so close to each other that no margin fits between them.
        centring = not config.term_weights["adaptation"] if config.centring is None else config.centring
        config = replace(config, unseen="all-prototypes", centring=centring)
        because = "the gallery model has no classifier; class means of its vectors stand in"
        choices.append(Choice("unseen", "all-prototypes", because + (", less their common mean" if centring else "")))
    return config, tuple(choices)


def _lack(gallery: Checkpoint, data: TrainingSet) -> str:
    if not data.has_labels:
        return "the images have no labels"
    if gallery.classifier is None:
        return "the gallery model has no classifier"
    return "the gallery model knows none of the classes"


def needs_vectors(config: QueryConfig, gallery: Checkpoint, data: TrainingSet) -> bool:
    """Whether a term, or the choice of a method, asks for the gallery model's vectors of plain training images."""
    if config.method == "auto":
        return not _knows_classes(gallery, data)
    return config.centred or config.needs_bank or _takes_class_means(config, gallery)


def _takes_class_means(config: QueryConfig, gallery: Checkpoint) -> bool:
    """Whether a term is about a classifier that the gallery model lacks, and nobody said what takes its place."""
    left = config.unseen is None and not config.of_prototypes
    return left and bool(config.term_weights["gallery"]) and gallery.classifier is None


def _knows_classes(gallery: Checkpoint, data: TrainingSet) -> bool:
    """Whether some training class has a row in the gallery model's classifier."""
    return gallery.classifier is not None and data.has_labels and bool(set(data.classes) & set(gallery.classes))
