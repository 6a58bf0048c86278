"""The loss of a query model against a frozen gallery model: seed 000, Eq. 1, and two terms more.

    loss = own * L1(w_q, kappa_q) + gallery * L1(w_q, kappa_g) + kd * KD + regression * (1 - cos(phi_q, phi_g))

The paper prints kappa_q in the second term too; its text ("compatible with the gallery classifier") and BCT
itself need the gallery's classifier kappa_g, held constant, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_train.checkpoint import Checkpoint
from compat_train.config import QueryConfig
from compat_train.data.augment import cut_and_paste
from compat_train.data.batches import Batch, normalise
from compat_train.data.training_set import TrainingSet
from compat_train.loop import use_bf16
from compat_train.losses.distill import embedding_regression_loss, knowledge_distillation_loss
from compat_train.losses.margin import cosine_logits
from compat_train.methods.classify import classification_loss
from compat_train.methods.gallery_outputs import GalleryOutputs


def compatibility_objective(
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    embed: Callable[[Tensor, Batch], Tensor],
    classifier: nn.Linear,
    rows: Tensor,
    device: torch.device,
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
    """
    weights = config.weights
    chosen = config.classification or gallery.classification
    kappa_g = None if gallery.classifier is None else gallery.classifier.to(device)
    rows = rows.to(device)
    outputs = None
    if weights["kd"] or weights["regression"]:
        outputs = GalleryOutputs(
            gallery,
            data.pixels,
            config.augmentation,
            device,
            bf16=use_bf16(config.execution, device),
        )

    def objective(batch: Batch) -> dict[str, Tensor]:
        images, count = batch.images, len(batch.images)
        if config.mixed:
            images = torch.cat((images, cut_and_paste(images, batch.generator)))
        inputs = normalise(images, gallery.preprocessing).contiguous(memory_format=torch.channels_last)
        embeddings = embed(inputs, batch)
        labelled = embeddings[:count]
        terms: dict[str, Tensor] = {}
        if weights["own"]:
            own = classification_loss(labelled, classifier.weight, batch.labels, chosen)
            terms["own"] = weights["own"] * own
        if weights["gallery"]:
            assert kappa_g is not None  # checked by gallery_rows
            target = rows[batch.labels]
            known = target >= 0
            # Images of classes that the gallery model never saw contribute 0 to this term.
            share = known.float().mean()
            if known.any():
                term = classification_loss(labelled[known], kappa_g, target[known], chosen) * share
            else:
                term = labelled.sum() * 0.0
            terms["gallery"] = weights["gallery"] * term
        if outputs is not None:
            of_batch = outputs.of_batch(batch)
        if weights["kd"]:
            assert kappa_g is not None and outputs is not None
            logits = chosen.scale * cosine_logits(labelled, classifier.weight)
            gallery_logits = gallery.classification.scale * cosine_logits(of_batch, kappa_g)[:, rows]
            terms["kd"] = weights["kd"] * knowledge_distillation_loss(
                logits, gallery_logits, temperature=config.temperature
            )
        if weights["regression"]:
            assert outputs is not None
            if config.mixed:
                of_batch = torch.cat((of_batch, outputs.of_inputs(inputs[count:])))
            terms["regression"] = weights["regression"] * embedding_regression_loss(embeddings, of_batch)
        return terms

    return objective


def gallery_rows(config: QueryConfig, gallery: Checkpoint, data: TrainingSet) -> Tensor:
    """Row of the gallery classifier for each training class, int64; -1 where the gallery never saw it.

    Raises:
        TrainingError: The gallery run lacks what the method needs.
    """
    weights = config.weights
    needs_classifier = bool(weights["gallery"] or weights["kd"] or config.method == "finetune")
    if needs_classifier and gallery.classifier is None:
        raise TrainingError(
            f"{gallery.path} has no classifier, which method {config.method!r} needs; train the gallery model with a "
            f"classification loss, or use method 'regression'"
        )
    position = {name: row for row, name in enumerate(gallery.classes)}
    rows = torch.tensor([position.get(name, -1) for name in data.classes])
    unseen = [name for name, row in zip(data.classes, rows.tolist(), strict=True) if row < 0]
    if unseen and (weights["kd"] or config.method == "finetune"):
        raise TrainingError(
            f"{len(unseen)} training classes are unknown to the gallery model (such as {unseen[0]!r}), and method "
            f"{config.method!r} needs its classifier for every class; use bct or regression"
        )
    if weights["gallery"] and len(unseen) == len(data.classes):
        raise TrainingError(
            "none of the training classes is known to the gallery model, so its classifier teaches nothing; use "
            "method 'regression', which needs no classes"
        )
    return rows
