"""Training a query model against a fixed gallery model: the methods of seed 000, Eq. 1, and two more.

    loss = own * L1(w_q, kappa_q) + gallery * L1(w_q, kappa_g) + kd * KD + regression * (1 - cos(phi_q, phi_g))

The paper prints kappa_q in the second term too; its text ("compatible with the gallery classifier") and BCT
itself need the gallery's classifier kappa_g, held constant, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_train.checkpoint import Checkpoint, ResumePoints, space_name
from compat_train.config import Classification, QueryConfig, config_to_json
from compat_train.data.augment import cut_and_paste
from compat_train.data.batches import Batch, Batches, normalise
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.device import device_of, place
from compat_train.loop import Progress, fit, use_bf16
from compat_train.losses.distill import embedding_regression_loss, knowledge_distillation_loss
from compat_train.losses.margin import cosine_logits
from compat_train.methods.classify import classification_loss, new_classifier, same_run
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.models.build import build_model


def train_query(config: QueryConfig, out: str | Path, progress: Progress | None = None) -> Checkpoint:
    """Trains a query model against a gallery run, or resumes it, or returns it when it is finished.

    Args:
        config: Method, network, data and schedule. The embedding dimension and the preprocessing are the
            gallery model's.
        out: RUN folder.
        progress: Called while images are decoded and after each step.

    Returns:
        The finished checkpoint. It declares that it searches the gallery's space when the method draws it
        there (every method but vanilla and kd).

    Raises:
        DataError: The dataset cannot be used.
        TrainingError: The gallery run cannot serve the method, or the loss is not finite.
    """
    run = Path(out)
    gallery = Checkpoint.load(config.gallery)
    settings = config_to_json(config) | {"gallery_space": gallery.space}
    if finished := same_run(run, settings):
        return finished
    weights = config.weights
    chosen = config.classification or gallery.classification
    device = device_of(config.execution.device)
    data = load_training_set(config.source, gallery.preprocessing, cache=run / "pixels", progress=progress)
    rows = _gallery_rows(config, gallery, data, device)
    torch.manual_seed(config.execution.seed)
    embedder = build_model(config.arch, dim=gallery.dim, width=config.width, stem_stride=config.stem_stride)
    classifier = new_classifier(len(data.classes), gallery.dim)
    if config.method == "finetune":
        _inherit(embedder, classifier, gallery, data.classes)
    trained = nn.ModuleDict({"embedder": embedder})
    if weights["own"] or weights["kd"]:
        trained["classifier"] = classifier
    place(trained, device)
    batches = Batches(
        data.pixels,
        data.labels,
        batch=config.optimisation.batch,
        seed=config.execution.seed,
        augmentation=config.augmentation,
        device=device,
    )
    objective = _objective(config, gallery, chosen, embedder, classifier, data, rows, device)
    fit(
        trained,
        objective,
        batches,
        config.optimisation,
        config.execution,
        run=run,
        settings=settings,
        stage=f"train query ({config.method})",
        progress=progress,
    )
    state = {name: value.detach().cpu().contiguous() for name, value in embedder.state_dict().items()}
    checkpoint = Checkpoint(
        path=run,
        role="query",
        arch=config.arch,
        dim=gallery.dim,
        width=config.width,
        stem_stride=config.stem_stride,
        preprocessing=gallery.preprocessing,
        space=space_name(config.arch, gallery.dim, state),
        searches=(gallery.space,) if config.compatible else (),
        classes=data.classes,
        method=config.method,
        classification=chosen,
        license=config.license,
        config=settings,
        state=state,
        classifier=classifier.weight.detach().cpu() if "classifier" in trained else None,
    )
    checkpoint.save()
    ResumePoints(run).clear()
    return checkpoint


def _objective(
    config: QueryConfig,
    gallery: Checkpoint,
    chosen: Classification,
    embedder: nn.Module,
    classifier: nn.Linear,
    data: TrainingSet,
    rows: Tensor,
    device: torch.device,
) -> Callable[[Batch], dict[str, Tensor]]:
    weights = config.weights
    kappa_g = None if gallery.classifier is None else gallery.classifier.to(device)
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
        embeddings = embedder(inputs)
        labelled = embeddings[:count]
        terms: dict[str, Tensor] = {}
        if weights["own"]:
            own = classification_loss(labelled, classifier.weight, batch.labels, chosen)
            terms["own"] = weights["own"] * own
        if weights["gallery"]:
            assert kappa_g is not None  # checked by _gallery_rows
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


def _gallery_rows(config: QueryConfig, gallery: Checkpoint, data: TrainingSet, device: torch.device) -> Tensor:
    """Row of the gallery classifier for each training class, -1 where the gallery never saw the class."""
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
    return rows.to(device)


def _inherit(embedder: nn.Module, classifier: nn.Linear, gallery: Checkpoint, classes: tuple[str, ...]) -> None:
    """Starts the query model from the gallery model's weights: whole, or the leading channels of a narrower net.

    Raises:
        TrainingError: The query network's layers are not the gallery network's.
    """
    state = embedder.state_dict()
    matches = state.keys() == gallery.state.keys() and all(
        value.dim() == gallery.state[name].dim()
        and all(mine <= theirs for mine, theirs in zip(value.shape, gallery.state[name].shape, strict=True))
        for name, value in state.items()
    )
    if not matches:
        raise TrainingError(
            f"method 'finetune' starts from the gallery model's weights, so it needs its architecture "
            f"({gallery.arch}, width {gallery.width:g} or less); use bct for another architecture"
        )
    embedder.load_state_dict(
        {
            name: gallery.state[name][tuple(slice(0, side) for side in value.shape)].clone()
            for name, value in state.items()
        }
    )
    assert gallery.classifier is not None
    position = {name: row for row, name in enumerate(gallery.classes)}
    with torch.no_grad():
        classifier.weight.copy_(gallery.classifier[[position[name] for name in classes]])
