"""The loss of a model that is trained towards a frozen one: CMP-NAS, Eq. 1, and the terms of later methods.

    loss = own * L1(w, kappa) + gallery * L1(w, kappa_g) + kd * KD + regression * (1 - cos(phi, phi_g))
           + alignment * |kappa - centres|² + boundary * max(0, limit - cos(phi, centre))
           + adaptation * L1(kappa, psi(phi_g)) + focal * FD(kappa_g phi, kappa_g phi_g)
           + csd * KL(bank) + infonce * CE(bank) + aml * contrastive

The paper prints kappa_q in the second term too; its text ("compatible with the gallery classifier") and BCT
itself need the gallery's classifier kappa_g, held constant, and so does this. The terms of the second line are LCE's.

Method "dmu" is BCT whose images do not count alike in the second and the fourth term: DMU, Eq. 8 to 11, where
the frozen model is the old one and the trained one is new; the term "adaptation" trains psi beside it, which also
moves the new classifier. With `QueryConfig.adaptation_loss` "regression" it is Eq. 14 in Eq. 11, and moves the new
model. With `QueryConfig.through` psi is shown what a gallery holds after its earlier upgrades. Old and new model see
the same augmented view, not one each: the weights are about the image.

The terms of the last line and the regression need neither labels nor a classifier. With `QueryConfig.centred` their
targets are the gallery model's vectors less their mean (`compat_train.losses.centred`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.progress import Progress
from compat_train.adoption.opening import open_gallery_model
from compat_train.config.method_terms import OF_OUTPUTS
from compat_train.config.query import QueryConfig
from compat_train.data.augment import cut_and_paste
from compat_train.data.batches import Batch, normalise
from compat_train.data.canvas import decoding
from compat_train.data.training_set import TrainingSet
from compat_train.losses.dmu import certainty_weights, entropy_weights, least_confidence_weights
from compat_train.losses.lce import class_centres
from compat_train.losses.margin import cosine_logits
from compat_train.methods.earlier import EarlierUpgrades
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.gallery_vectors import GalleryVectors, gallery_vectors
from compat_train.methods.length_statistics import LengthStatistics
from compat_train.methods.sampled_classifier import SampledClassifier
from compat_train.methods.shown import Shown
from compat_train.methods.terms import TERMS, Setup, Step
from compat_train.methods.unseen_classes import extended_classifier, training_embeddings
from compat_train.precision import autocast_type
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
    vectors: GalleryVectors | None = None,
    shown: Shown | None = None,
    progress: Progress | None = None,
    sampled: SampledClassifier | None = None,
    lengths: LengthStatistics | None = None,
) -> Callable[[Batch], dict[str, Tensor]]:
    """From a batch to its weighted loss terms.

    Args:
        config: Weights of the terms, and the loss L1 (the gallery run's when it names none).
        gallery: The frozen gallery model and its classifier.
        data: Training images, as the gallery model decodes them.
        embed: From network inputs ``[n, 3, size, size]``, channels last, and the batch they come from, to embeddings.
        classifier: The query side's own classifier, kappa_q.
        rows: Output of `gallery_rows`.
        device: Where training happens.
        psi: DMU's forward adaptation of the gallery model's embeddings; needed where its weight is not 0.
        vectors: The gallery model's vectors of training images, where the caller has them already.
        shown: What both models are shown; what the gallery model sees of ``data`` if None.
        progress: Called while the gallery model embeds the views.
        sampled: The query side's own classifier as each step sees it, whose part alone the caller lets a step move; all
            of it if None.
        lengths: What tells the quality of each image, for the loss adaface; None for equal quality.
    """
    weights = config.term_weights
    selective = config.selecting != "uniform"
    if shown is None:
        config.augmentation.refuse_canvas("this training")
        shown = Shown.alike(gallery, data)
    preprocessing = shown.preprocessing
    setup = _setup(config, gallery, data, classifier, rows, device, psi, vectors, shown, progress, sampled)

    def objective(batch: Batch) -> dict[str, Tensor]:
        images, count = batch.images, len(batch.images)
        of_mixed = None
        if config.mixed:
            assert setup.outputs is not None  # made for the regression
            again = torch.Generator().set_state(batch.generator.get_state())
            of_mixed = setup.outputs.of_images(cut_and_paste(setup.outputs.images_of(batch), again))
            images = torch.cat((images, cut_and_paste(images, batch.generator)))
        inputs = normalise(images, preprocessing).contiguous(memory_format=torch.channels_last)
        embeddings = embed(inputs, batch)
        of_gallery = None if setup.outputs is None else setup.outputs.of_batch(batch)
        step = Step(
            inputs=inputs,
            embeddings=embeddings,
            labelled=embeddings[:count],
            labels=batch.labels,
            index=batch.index,
            number=batch.step,
            of_gallery=of_gallery,
            of_mixed=of_mixed,
            of_stored=None if setup.stored is None else setup.stored(batch),
            quality=None if lengths is None else lengths(embeddings[:count]),
            image_weights=_image_weights(setup, of_gallery, batch.labels) if selective else None,
        )
        return {name: weights[name] * term(setup, step) for name, term in TERMS.items() if weights[name]}

    return objective


def _setup(
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    classifier: nn.Linear,
    rows: Tensor,
    device: torch.device,
    psi: nn.Module | None,
    vectors: GalleryVectors | None,
    shown: Shown,
    progress: Progress | None,
    sampled: SampledClassifier | None,
) -> Setup:
    """What the terms share; the gallery model embeds the training images only where a term needs it."""
    weights = config.term_weights
    kappa_g = None if gallery.classifier is None else gallery.classifier.detach().to(device)
    frozen, targets = kappa_g, rows.to(device)
    if weights["gallery"]:
        frozen, targets = extended_classifier(config.unseen_as, gallery, data, rows, device)
    if vectors is None and (config.centred or config.needs_bank):
        vectors = gallery_vectors(gallery, data, device, seed=config.execution.seed, kept=shown.kept)
    mean = vectors.mean if vectors is not None and config.centred else None
    if mean is not None and frozen is not None and config.of_prototypes:
        frozen = frozen - mean  # the class means of centred targets
    soft = bool(weights["gallery"]) and config.unseen_as == "lwf"
    looks = any(weights[name] for name in OF_OUTPUTS) or config.selecting != "uniform" or soft
    outputs = None
    if looks:
        outputs = GalleryOutputs(
            gallery,
            shown.pixels,
            config.augmentation,
            device,
            half=autocast_type(config.execution, device),
            kept=shown.kept,
            sees_batches=shown.shared,
            ids=data.ids,
            progress=progress,
        )
    centres = limits = None
    if weights["alignment"] or weights["boundary"]:
        of_training = training_embeddings(gallery, data.pixels, device, ids=data.ids)
        centres, limits = class_centres(of_training, torch.from_numpy(data.labels).to(device), len(data.classes))
    return Setup(
        config=config,
        chosen=config.classification or gallery.classification,
        gallery_scale=gallery.classification.scale,
        classifier=classifier,
        sampled=sampled or SampledClassifier(classifier, 1.0, config.execution.seed),
        gallery_classifier=kappa_g,
        rows=rows.to(device),
        frozen=frozen,
        targets=targets,
        outputs=outputs,
        stored=_stored(config, gallery, data, device, shown, progress) if config.through else None,
        centres=centres,
        limits=limits,
        psi=psi,
        mean=mean,
        bank=vectors.bank(config.bank) if vectors is not None and config.needs_bank else None,
        has_labels=data.has_labels,
    )


def _stored(
    config: QueryConfig,
    gallery: Checkpoint,
    data: TrainingSet,
    device: torch.device,
    shown: Shown,
    progress: Progress | None,
) -> Callable[[Batch], Tensor]:
    """What a gallery that was upgraded before holds of a batch's images, unit norm, in the gallery model's space."""
    first = open_gallery_model(str(config.embedded_by))
    earlier = EarlierUpgrades(first, None, config.through, (), device)
    if earlier.space != gallery.space:
        raise TrainingError(
            f"the transforms of through lead to {earlier.space}, and the old model {config.gallery} writes in "
            f"{gallery.space}; name those by which the gallery came there"
        )
    if decoding(first.preprocessing) != decoding(gallery.preprocessing):
        raise TrainingError(
            f"{config.embedded_by} decodes images otherwise than {config.gallery}, and both see the same ones here; "
            f"train psi by itself: train upgrade has the same through"
        )
    same_blank = first.preprocessing.mean == gallery.preprocessing.mean or not config.augmentation.cutout
    outputs = GalleryOutputs(
        first,
        shown.pixels,
        config.augmentation,
        device,
        half=autocast_type(config.execution, device),
        kept=shown.kept,
        sees_batches=shown.shared and same_blank,
        ids=data.ids,
        progress=progress,
    )
    return lambda batch: earlier(F.normalize(outputs.of_batch(batch)), None)[0]


def _image_weights(setup: Setup, of_gallery: Tensor | None, labels: Tensor) -> Tensor:
    """Share of each image in the terms that draw it to the old model; sum 1."""
    assert setup.frozen is not None and of_gallery is not None  # checked by gallery_rows
    config = setup.config
    if config.of_prototypes:
        of_gallery = setup.target(of_gallery)
    logits = config.selection_scale * cosine_logits(of_gallery, setup.frozen)
    match config.selecting:
        case "entropy":
            return entropy_weights(logits, temperature=config.selection_temperature)
        case "least-confidence":
            return least_confidence_weights(logits, setup.targets[labels], temperature=config.selection_temperature)
        case "certainty":
            return certainty_weights(logits)
        case "uniform":
            return torch.full_like(logits[:, 0], 1 / len(logits))


def gallery_rows(config: QueryConfig, gallery: Checkpoint, data: TrainingSet) -> Tensor:
    """Row of the gallery classifier for each training class, int64; -1 where the gallery never saw it.

    Raises:
        TrainingError: The gallery run lacks what the method needs.
    """
    weights = config.term_weights
    if config.needs_labels and not data.has_labels:
        raise TrainingError(
            f"the training images have no labels, and method {config.method!r} needs labels; use method 'auto', "
            f"'regression-centred', 'csd', 'infonce' or 'aml'"
        )
    under_it = weights["gallery"] and not config.of_prototypes
    selects = config.selecting != "uniform" and not config.of_prototypes
    itself = weights["kd"] or weights["focal"] or config.method == "finetune"
    if (under_it or selects or itself) and gallery.classifier is None:
        means = "" if itself else "set unseen to all-prototypes, "
        raise TrainingError(
            f"{gallery.path} has no classifier, which method {config.method!r} needs; train the gallery model with a "
            f"classification loss, {means}or use method 'regression'"
        )
    position = {name: row for row, name in enumerate(gallery.classes)}
    rows = torch.tensor([position.get(name, -1) for name in data.classes], dtype=torch.int64)
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
