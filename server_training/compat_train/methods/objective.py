"""The loss of a model that is trained towards a frozen one: seed 000, Eq. 1, and the terms of later methods.

    loss = own * L1(w, kappa) + gallery * L1(w, kappa_g) + kd * KD + regression * (1 - cos(phi, phi_g))
           + alignment * |kappa - centres|² + boundary * max(0, limit - cos(phi, centre))
           + adaptation * L1(kappa, psi(phi_g))

The paper prints kappa_q in the second term too; its text ("compatible with the gallery classifier") and BCT
itself need the gallery's classifier kappa_g, held constant, and so does this. The terms of the second line are LCE's.

Method "dmu" is BCT whose images do not count alike in the second and the fourth term: seed 003, Eq. 8 to 11, where
the frozen model is the old one and the trained one is new; the last term trains psi beside it, which also moves the new
classifier. Old and new model see the same augmented view, not one each: the weights are about the image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_train.config.training import Classification, QueryConfig
from compat_train.data.augment import cut_and_paste
from compat_train.data.batches import Batch, normalise
from compat_train.data.training_set import TrainingSet
from compat_train.loop import use_bf16
from compat_train.losses.distill import embedding_regression_loss, knowledge_distillation_loss
from compat_train.losses.dmu import certainty_weights, entropy_weights, least_confidence_weights
from compat_train.losses.lce import alignment_loss, boundary_loss, class_centres
from compat_train.losses.margin import cosine_logits
from compat_train.methods.classify import classification_loss
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.unseen_classes import extended_classifier, training_embeddings
from compat_train.runs.checkpoint import Checkpoint


def compatibility_objective(
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    embed: Callable[[Tensor, Batch], Tensor],
    classifier: nn.Linear,
    rows: Tensor,
    device: torch.device,
    psi: nn.Module | None = None,
) -> Callable[[Batch], dict[str, Tensor]]:
    """From a batch to its weighted loss terms.

    Args:
        config: Weights of the terms, and the loss L1 (the gallery run's when it names none).
        gallery: The frozen gallery model and its classifier.
        data: Training images.
        embed: From network inputs ``[n, 3, size, size]``, channels last, and the batch they come from, to embeddings.
        classifier: The query side's own classifier, kappa_q.
        rows: Output of `gallery_rows`.
        device: Where training happens.
        psi: DMU's forward adaptation of the gallery model's embeddings; needed where its weight is not 0.
    """
    weights, selecting = config.weights, config.selecting
    chosen = config.classification or gallery.classification
    kappa_g = None if gallery.classifier is None else gallery.classifier.detach().to(device)
    frozen, targets = kappa_g, rows.to(device)
    if weights["gallery"]:
        frozen, targets = extended_classifier(config.unseen_as, gallery, data, rows, device)
    rows = rows.to(device)
    selective, soft = selecting != "uniform", bool(weights["gallery"]) and config.unseen_as == "lwf"
    outputs = None
    if weights["kd"] or weights["regression"] or weights["adaptation"] or selective or soft:
        outputs = GalleryOutputs(
            gallery,
            data.pixels,
            config.augmentation,
            device,
            bf16=use_bf16(config.execution, device),
        )
    if weights["alignment"] or weights["boundary"]:
        of_training = training_embeddings(gallery, data.pixels, device)
        labels = torch.from_numpy(data.labels).to(device)
        centres, limits = class_centres(of_training, labels, len(data.classes))

    def objective(batch: Batch) -> dict[str, Tensor]:
        images, count = batch.images, len(batch.images)
        if config.mixed:
            images = torch.cat((images, cut_and_paste(images, batch.generator)))
        inputs = normalise(images, gallery.preprocessing).contiguous(memory_format=torch.channels_last)
        embeddings = embed(inputs, batch)
        labelled = embeddings[:count]
        target = targets[batch.labels]
        of_batch = None if outputs is None else outputs.of_batch(batch)
        image_weights = None
        if selective:
            assert frozen is not None and of_batch is not None  # checked by gallery_rows
            image_weights = _image_weights(config, config.selection_scale * cosine_logits(of_batch, frozen), target)
        terms: dict[str, Tensor] = {}
        if weights["own"]:
            own = classification_loss(labelled, classifier.weight, batch.labels, chosen)
            terms["own"] = weights["own"] * own
        if weights["gallery"]:
            assert frozen is not None
            scale = gallery.classification.scale
            soft_labels = scale * cosine_logits(of_batch, frozen) if soft and of_batch is not None else None
            term = _frozen_classifier_term(labelled, frozen, target, chosen, image_weights, soft_labels)
            terms["gallery"] = weights["gallery"] * term
        if weights["kd"]:
            assert kappa_g is not None and of_batch is not None
            logits = chosen.scale * cosine_logits(labelled, classifier.weight)
            gallery_logits = gallery.classification.scale * cosine_logits(of_batch, kappa_g)[:, rows]
            terms["kd"] = weights["kd"] * knowledge_distillation_loss(
                logits, gallery_logits, temperature=config.temperature
            )
        if weights["regression"]:
            assert outputs is not None and of_batch is not None
            if image_weights is not None:
                apart = embedding_regression_loss(labelled, of_batch, reduction="none")
                terms["regression"] = weights["regression"] * (image_weights * apart).sum()
            else:
                if config.mixed:
                    of_batch = torch.cat((of_batch, outputs.of_inputs(inputs[count:])))
                terms["regression"] = weights["regression"] * embedding_regression_loss(embeddings, of_batch)
        if weights["adaptation"]:
            assert psi is not None and of_batch is not None
            # What is stored of the old model, and what an upgrade hands to psi, has unit norm.
            adapted = classification_loss(psi(F.normalize(of_batch)), classifier.weight, batch.labels, chosen)
            terms["adaptation"] = weights["adaptation"] * adapted
        if weights["alignment"]:
            terms["alignment"] = weights["alignment"] * alignment_loss(classifier.weight, centres)
        if weights["boundary"]:
            terms["boundary"] = weights["boundary"] * boundary_loss(labelled, centres, limits, batch.labels)
        return terms

    return objective


def _image_weights(config: QueryConfig, logits: Tensor, target: Tensor) -> Tensor:
    """Share of each image in the terms that draw it to the old model; sum 1."""
    match config.selecting:
        case "entropy":
            return entropy_weights(logits, temperature=config.selection_temperature)
        case "least-confidence":
            return least_confidence_weights(logits, target, temperature=config.selection_temperature)
        case "certainty":
            return certainty_weights(logits)
        case "uniform":
            return torch.full_like(logits[:, 0], 1 / len(logits))


def _frozen_classifier_term(
    embeddings: Tensor,
    frozen: Tensor,
    target: Tensor,
    chosen: Classification,
    image_weights: Tensor | None,
    soft_labels: Tensor | None,
) -> Tensor:
    """Loss under the frozen classifier; an image of a class without a row adds 0, or its soft labels' divergence."""
    known = target >= 0
    if image_weights is None and soft_labels is None:
        share = known.float().mean()
        if not known.any():
            return embeddings.sum() * 0.0
        return classification_loss(embeddings[known], frozen, target[known], chosen) * share
    hard = classification_loss(embeddings[known], frozen, target[known], chosen, reduction="none")
    losses = torch.zeros(len(target), device=target.device).masked_scatter(known, hard)
    if soft_labels is not None:
        logits = chosen.scale * cosine_logits(embeddings[~known], frozen)
        apart = knowledge_distillation_loss(logits, soft_labels[~known], temperature=1.0, reduction="none")
        losses = losses.masked_scatter(~known, apart)
    return losses.mean() if image_weights is None else (image_weights * losses).sum()


def gallery_rows(config: QueryConfig, gallery: Checkpoint, data: TrainingSet) -> Tensor:
    """Row of the gallery classifier for each training class, int64; -1 where the gallery never saw it.

    Raises:
        TrainingError: The gallery run lacks what the method needs.
    """
    weights = config.weights
    under_it = weights["gallery"] and config.unseen_as != "all-prototypes"
    selects = config.selecting != "uniform" and config.unseen_as != "all-prototypes"
    if (under_it or selects or weights["kd"] or config.method == "finetune") and gallery.classifier is None:
        raise TrainingError(
            f"{gallery.path} has no classifier, which method {config.method!r} needs; train the gallery model with a "
            f"classification loss, set unseen to all-prototypes, or use method 'regression'"
        )
    position = {name: row for row, name in enumerate(gallery.classes)}
    rows = torch.tensor([position.get(name, -1) for name in data.classes])
    unseen = [name for name, row in zip(data.classes, rows.tolist(), strict=True) if row < 0]
    if unseen and (weights["kd"] or config.method == "finetune"):
        raise TrainingError(
            f"{len(unseen)} training classes are unknown to the gallery model (such as {unseen[0]!r}), and method "
            f"{config.method!r} needs its classifier for every class; use bct or regression"
        )
    if weights["gallery"] and config.unseen_as == "skip" and len(unseen) == len(data.classes):
        raise TrainingError(
            "none of the training classes is known to the gallery model, so its classifier teaches nothing; set unseen "
            "to prototypes, or use method 'regression', which needs no classes"
        )
    return rows
