"""The terms of the loss of a model that is trained towards a frozen one, one function each.

All take what stays the same during a training and what one step looks at; they return the term without its weight.
`compat_train.methods.objective` says how they are added up, and where each comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_train.config.parts import Classification
from compat_train.config.query import QueryConfig
from compat_train.data.batches import Batch
from compat_train.losses.asymmetric import asymmetric_contrastive_loss
from compat_train.losses.centred import centred
from compat_train.losses.contextual import contextual_similarity_loss
from compat_train.losses.distill import embedding_regression_loss, knowledge_distillation_loss
from compat_train.losses.dmu import adaptation_regression_loss
from compat_train.losses.focal import focal_distillation_loss
from compat_train.losses.info_nce import cross_model_info_nce_loss
from compat_train.losses.lce import alignment_loss, boundary_loss
from compat_train.losses.margin import cosine_logits
from compat_train.methods.classify import classification_loss
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.gallery_vectors import Bank
from compat_train.methods.sampled_classifier import SampledClassifier, sampled_frozen


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """What the terms share during a training; what no term with a weight needs is None.

    Attributes:
        config: Of the training.
        chosen: The loss L1.
        gallery_scale: Factor on the gallery model's cosines.
        classifier: The trained model's own, kappa.
        sampled: The same, as each step sees it.
        gallery_classifier: ``[rows, dim]``, kappa_g, the gallery model's as it was trained.
        rows: int64 ``[classes]``, row of ``gallery_classifier`` for each training class; -1 where it has none.
        frozen: ``[rows, dim]``, what the term "gallery" takes for kappa_g: extended for classes it never saw.
        targets: int64 ``[classes]``, row of ``frozen`` for each training class; -1 where it has none.
        outputs: Embeddings of the training images by the gallery model.
        stored: What an upgraded gallery holds of a batch's images, unit norm; None where it holds the gallery model's.
        centres: ``[classes, dim]``, unit norm, mean direction of each class in the gallery model's embeddings.
        limits: ``[classes]``, smallest cosine of an embedding of the class to its centre.
        psi: DMU's forward adaptation of the gallery model's embeddings.
        mean: ``[dim]``, of the gallery model's unit vectors; None where targets keep it.
        bank: Gallery vectors of some training images.
        has_labels: Whether the labels tell images apart; without them each image is a label of its own.
    """

    config: QueryConfig
    chosen: Classification
    gallery_scale: float
    classifier: nn.Linear
    sampled: SampledClassifier
    gallery_classifier: Tensor | None
    rows: Tensor
    frozen: Tensor | None
    targets: Tensor
    outputs: GalleryOutputs | None
    stored: Callable[[Batch], Tensor] | None
    centres: Tensor | None
    limits: Tensor | None
    psi: nn.Module | None
    mean: Tensor | None
    bank: Bank | None
    has_labels: bool

    def target(self, of_gallery: Tensor) -> Tensor:
        """What the gallery model's vectors ``[n, dim]`` are to the terms that take them for targets."""
        return of_gallery if self.mean is None else centred(of_gallery, self.mean)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What the terms look at in one step.

    Attributes:
        inputs: Network inputs: ``n`` labelled images, and after them, with ``mixed``, as many without a label.
        embeddings: Of all inputs, by the trained model.
        labelled: ``[n, dim]``, the first of them.
        labels: int64 ``[n]``.
        index: int64 ``[n]``, rows of the training set.
        number: Of the step, from 0.
        of_gallery: ``[n, dim]``, the gallery model's embeddings of the labelled images; None where nobody needs them.
        of_mixed: ``[n, dim]``, of the images after them; None without ``mixed``.
        of_stored: ``[n, dim]``, unit norm, what an upgraded gallery holds of the labelled images; None where it holds
            the gallery model's embeddings.
        quality: ``[n]`` in [-1, 1], of each labelled image by the length of its embedding; None for a loss that looks
            at none.
        image_weights: ``[n]``, share of each image in the terms that draw it to the old model, sum 1; None where all
            count alike.
    """

    inputs: Tensor
    embeddings: Tensor
    labelled: Tensor
    labels: Tensor
    index: Tensor
    number: int
    of_gallery: Tensor | None
    of_mixed: Tensor | None
    of_stored: Tensor | None
    quality: Tensor | None
    image_weights: Tensor | None


def _own(setup: Setup, step: Step) -> Tensor:
    """L1 under the trained model's own classifier."""
    classes, labels = setup.sampled.of(step.labels, step.number)
    return classification_loss(step.labelled, classes, labels, setup.chosen, quality=step.quality)


def _gallery(setup: Setup, step: Step) -> Tensor:
    """L1 under the frozen classifier; an image of a class without a row adds 0, or its soft labels' divergence."""
    assert setup.frozen is not None  # checked by gallery_rows
    target = setup.targets[step.labels]
    known = target >= 0
    soft = setup.config.unseen_as == "lwf"
    quality = None if step.quality is None else step.quality[known]
    rate, seed = setup.config.sampling_rate, setup.config.execution.seed
    frozen, rows = sampled_frozen(setup.frozen, target[known], rate, seed, step.number)
    if step.image_weights is None and not soft:
        share = known.float().mean()
        if not known.any():
            return step.labelled.sum() * 0.0
        return classification_loss(step.labelled[known], frozen, rows, setup.chosen, quality=quality) * share
    hard = classification_loss(step.labelled[known], frozen, rows, setup.chosen, quality=quality, reduction="none")
    losses = torch.zeros(len(target), device=target.device).masked_scatter(known, hard)
    if soft:
        assert step.of_gallery is not None
        soft_labels = setup.gallery_scale * cosine_logits(step.of_gallery, setup.frozen)
        logits = setup.chosen.scale * cosine_logits(step.labelled[~known], setup.frozen)
        apart = knowledge_distillation_loss(logits, soft_labels[~known], temperature=1.0, reduction="none")
        losses = losses.masked_scatter(~known, apart)
    return losses.mean() if step.image_weights is None else (step.image_weights * losses).sum()


def _kd(setup: Setup, step: Step) -> Tensor:
    """Divergence of the trained model's class probabilities from the gallery model's."""
    assert setup.gallery_classifier is not None and step.of_gallery is not None  # checked by gallery_rows
    logits = setup.chosen.scale * cosine_logits(step.labelled, setup.classifier.weight)
    wanted = setup.gallery_scale * cosine_logits(step.of_gallery, setup.gallery_classifier)[:, setup.rows]
    return knowledge_distillation_loss(logits, wanted, temperature=setup.config.temperature)


def _focal(setup: Setup, step: Step) -> Tensor:
    """Divergence under the gallery model's classifier from what it says itself, more where it tells the class."""
    assert setup.gallery_classifier is not None and step.of_gallery is not None  # checked by gallery_rows
    logits, wanted = (
        setup.gallery_scale * cosine_logits(side, setup.gallery_classifier) for side in (step.labelled, step.of_gallery)
    )
    right = wanted.argmax(1) == setup.rows[step.labels]
    return focal_distillation_loss(logits, wanted, right, temperature=setup.config.temperature)


def _regression(setup: Setup, step: Step) -> Tensor:
    """One minus the cosine to the gallery model's embedding, of mixed images too."""
    of_gallery = step.of_gallery
    assert of_gallery is not None  # made for this term
    if step.image_weights is not None:
        apart = embedding_regression_loss(step.labelled, setup.target(of_gallery), reduction="none")
        return (step.image_weights * apart).sum()
    if step.of_mixed is not None:
        of_gallery = torch.cat((of_gallery, step.of_mixed))
    return embedding_regression_loss(step.embeddings, setup.target(of_gallery))


def _csd(setup: Setup, step: Step) -> Tensor:
    """Divergence of the similarities to the bank from the gallery model's."""
    assert setup.bank is not None and step.of_gallery is not None  # made for this term
    return contextual_similarity_loss(
        step.labelled,
        setup.target(step.of_gallery),
        setup.target(setup.bank.vectors),
        temperature=setup.config.similarity_temperature,
        gallery_temperature=setup.config.gallery_temperature,
    )


def _infonce(setup: Setup, step: Step) -> Tensor:
    """Cross-entropy of the image's own gallery vector among those of the batch and the bank."""
    assert setup.bank is not None and step.of_gallery is not None  # made for this term
    return cross_model_info_nce_loss(
        step.labelled,
        setup.target(step.of_gallery),
        setup.target(setup.bank.vectors),
        setup.bank.rows_of(step.index),
        temperature=setup.config.similarity_temperature,
    )


def _aml(setup: Setup, step: Step) -> Tensor:
    """Contrastive loss of the trained model's anchors with the gallery model's positives and negatives."""
    assert step.of_gallery is not None  # made for this term
    names = step.labels if setup.has_labels else step.index.to(step.labels.device)
    return asymmetric_contrastive_loss(
        step.labelled, setup.target(step.of_gallery), names, margin=setup.config.aml_margin
    )


def _adaptation(setup: Setup, step: Step) -> Tensor:
    """L1 of psi's output under the trained model's own classifier, or one minus its cosine to the model's output."""
    assert setup.psi is not None and step.of_gallery is not None  # given for this term
    # What is stored of the old model, and what an upgrade hands to psi, has unit norm.
    adapted = setup.psi(F.normalize(step.of_gallery) if step.of_stored is None else step.of_stored)
    if setup.config.adaptation_loss == "regression":
        return adaptation_regression_loss(adapted, step.labelled)
    classes, labels = setup.sampled.of(step.labels, step.number)
    return classification_loss(adapted, classes, labels, setup.chosen)


def _alignment(setup: Setup, step: Step) -> Tensor:
    """Squared distance of the trained model's class weights to the gallery model's class centres."""
    assert setup.centres is not None  # made for this term
    return alignment_loss(setup.classifier.weight, setup.centres)


def _boundary(setup: Setup, step: Step) -> Tensor:
    """How far embeddings lie outside of their class, as the gallery model drew it."""
    assert setup.centres is not None and setup.limits is not None  # made for this term
    return boundary_loss(step.labelled, setup.centres, setup.limits, step.labels)


TERMS: Mapping[str, Callable[[Setup, Step], Tensor]] = {
    "own": _own,
    "gallery": _gallery,
    "kd": _kd,
    "focal": _focal,
    "regression": _regression,
    "adaptation": _adaptation,
    "alignment": _alignment,
    "boundary": _boundary,
    "csd": _csd,
    "infonce": _infonce,
    "aml": _aml,
}
"""Every term by the name of its weight in the configuration."""
