"""Training a transform of old embeddings into a new model's space: FCT's h and g, DMU's psi.

The old model, the new one and the side-information encoder stay as they are; the new one was trained as if the old
one had never been. They see the same view of the same image, each decoded as its own preprocessing says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_sdk.outputs import delete_own
from compat_sdk.progress import Progress
from compat_train.adoption.opening import open_gallery_model
from compat_train.config.settings import config_to_json
from compat_train.config.upgrade import UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.data.canvas import decoding
from compat_train.data.training_set import TrainingSet, load_training_set, origin_of
from compat_train.device import device_of
from compat_train.loop import Objective, fit
from compat_train.losses.distill import embedding_regression_loss
from compat_train.losses.forward import forward_transform_loss
from compat_train.methods.classify import classification_loss, finished_run
from compat_train.methods.earlier import EarlierUpgrades
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.pairs import train_on_pairs
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.parallel.group import leads, together
from compat_train.parallel.rows import over_processes
from compat_train.precision import autocast_type
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import EMBEDDINGS, UPGRADE_RUN, require_run
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import on_cpu
from compat_train.runs.transform_run import TransformRun


@together
def train_upgrade(
    config: UpgradeConfig,
    out: str | Path,
    progress: Progress | None = None,
    *,
    data: TrainingSet | None = None,
    embeddings: Path | None = None,
) -> TransformRun:
    """Trains a transform, or resumes it, or returns it when the folder holds it already.

    Without ``config.source`` the models are the vectors that they wrote, see `compat_train.methods.pairs`.

    Inputs and targets have unit norm, as galleries store them; the paper of FCT works on raw features. Without
    augmentation, or with mirroring alone, each network embeds the images once, before the first step.

    For FCT's g, which carries side-information over to the next version's, ``config.new`` is the next version's
    side-information encoder.

    Source: FCT: Ramanujan et al., CVPR 2022, https://arxiv.org/abs/2112.02805, sections 3.3 and 4.4. DMU: Zhang et
    al., AAAI 2023, https://arxiv.org/abs/2210.06954, Eq. 11 and 14; there psi is trained together with the new
    model, here under its finished classifier.

    Args:
        config: Method, models, data and schedule.
        out: RUN folder.
        progress: Called while images are decoded and after each step.
        data: What ``config.source`` holds, where the caller has decoded it already as the new model does; models that
            decode images otherwise still read the source.
        embeddings: Folder where the models' embeddings of training images stay for other transforms, named by model
            and images; None keeps them in the RUN folder, for a resumed run, until it is finished.

    Returns:
        The finished transform; its space is the new model's. With ``config.through`` its inputs are what a gallery
        holds after those upgrades, and it belongs to such galleries: a model's own vectors in that space differ.

    Raises:
        ConfigError: The folder holds something else.
        DataError: The dataset cannot be used.
        TrainingError: The new run cannot serve the method, the new model or the side-information encoder is the old
            model itself, earlier upgrades do not follow each other, the loss is not finite, or the folder belongs to a
            run with other settings.
    """
    if config.source is None:
        return train_on_pairs(config, out, progress)
    run = Path(out)
    models = {"old": open_gallery_model(config.old), "new": open_gallery_model(config.new)}
    if config.side_info is not None:
        models["side"] = Checkpoint.load(config.side_info)
    old, new, side = models["old"], models["new"], models.get("side")
    device = device_of(config.execution.device)
    earlier = EarlierUpgrades(old, side, config.through, config.side_through, device)
    if new.space == earlier.space:
        raise TrainingError(
            f"the new model {config.new} writes what the old model writes ({new.space}), so there is nothing to "
            f"transform; pass the RUN of another model as new"
        )
    if side is not None and side.space == old.space:
        raise TrainingError(
            f"the side-information encoder {config.side_info} writes what the old model writes ({old.space}), so it "
            f"adds nothing; train it with another seed, architecture or method, or leave it out"
        )
    spaces = earlier.to(new)
    settings = config_to_json(replace(config, optimisation=config.schedule)) | {
        "old_space": spaces.old_space,
        "new_space": spaces.space,
        "side_space": spaces.side_space,
    }
    if finished := finished_run(run, settings, origin_of(config.images, data), TransformRun.load):
        return finished
    require_run(run, UPGRADE_RUN, settings)
    torch.manual_seed(config.execution.seed)
    transform: nn.Module
    if config.method == "fct":
        transform = ForwardTransform(old=spaces.old_dim, side=spaces.side_dim, new=spaces.dim, hidden=config.width)
    else:
        transform = ForwardAdaptation(old=spaces.old_dim, new=spaces.dim, hidden=config.width)
    transform.to(device)
    kept = run / "embeddings" if embeddings is None else embeddings
    views = _SharedViews(config, models, run, device, progress, data, kept)
    fit(
        nn.ModuleDict({"transform": transform}),
        _objective(config, transform, views, earlier, new, device),
        views.batches,
        config.schedule,
        config.execution,
        run=run,
        settings=settings,
        origin=views.origin,
        stage=f"train upgrade ({config.method})",
        progress=progress,
    )
    trained = TransformRun(
        path=run,
        method=config.method,
        kind="forward-transform" if config.method == "fct" else "forward-adaptation",
        spaces=spaces,
        hidden=config.width,
        license=config.license,
        config=settings,
        state=on_cpu(transform.state_dict()),
    )
    if leads():
        trained.save()
        ResumePoints(run).clear()
        if embeddings is None:
            delete_own(kept, EMBEDDINGS)
    return trained


class _SharedViews:
    """Embeddings of the same views of the same images by several frozen models.

    A view's random numbers depend on the seed and the step, not on the size of the images: so models that decode
    images differently are given the same crop, turn and colour, each at its own size.
    """

    def __init__(
        self,
        config: UpgradeConfig,
        models: dict[str, Checkpoint],
        run: Path,
        device: torch.device,
        progress: Progress | None,
        data: TrainingSet | None,
        kept: Path,
    ) -> None:
        half = autocast_type(config.execution, device)
        self._decoding = {name: decoding(model.preprocessing) for name, model in models.items()}
        sets: dict[Preprocessing, TrainingSet] = {} if data is None else {self._decoding["new"]: data}
        self._outputs: dict[str, GalleryOutputs] = {}
        labels_for = "the term 'arc'" if config.weights["arc"] else None
        for name, model in models.items():
            as_seen = self._decoding[name]
            if as_seen not in sets:
                sets[as_seen] = load_training_set(
                    config.images, as_seen, cache=run / "pixels", progress=progress, labels_for=labels_for
                )
            pixels = sets[as_seen].pixels
            self._outputs[name] = GalleryOutputs(model, pixels, config.augmentation, device, half=half, kept=kept)
        cached = config.augmentation.views is not None
        self._batches: dict[Preprocessing, Batches] = {}
        for as_seen, images in sets.items():
            # Once every view is embedded, nobody looks at the images: one pixel in place of each keeps steps cheap.
            seen = replace(images, pixels=np.zeros((len(images.pixels), 1, 1, 3), np.uint8)) if cached else images
            blank = replace(models["new"].preprocessing, size=as_seen.size)
            self._batches[as_seen] = seen.batches(config.schedule, config.execution, config.augmentation, blank, device)
        self.batches = self._batches[self._decoding["new"]]
        self.classes = sets[self._decoding["new"]].classes
        self.origin = sets[self._decoding["new"]].origin

    def stored(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """What was stored of a batch's images: vectors of the old model, and side-information if there is some."""
        return self.of_batch("old", batch), self.of_batch("side", batch) if "side" in self._outputs else None

    def of_batch(self, name: str, batch: Batch) -> Tensor:
        """Unit-norm embeddings ``[n, dim]`` of a batch of ``batches`` by one of the models, without gradient."""
        outputs, as_seen = self._outputs[name], self._decoding[name]
        if not outputs.cached and as_seen != self._decoding["new"]:
            batch = self._batches[as_seen].at(batch.step)
        return F.normalize(outputs.of_batch(batch))


def _objective(
    config: UpgradeConfig,
    transform: nn.Module,
    views: _SharedViews,
    earlier: EarlierUpgrades,
    new: Checkpoint,
    device: torch.device,
) -> Objective:
    weights = config.weights
    chosen = config.classification or new.classification
    classifier = None if new.classifier is None else new.classifier.to(device)
    rows = _classifier_rows(new, views.classes).to(device) if weights["arc"] else torch.empty(0)
    steps = views.batches.steps_per_epoch * config.schedule.epochs
    frozen_from = round(config.frozen_after * steps)

    def objective(batch: Batch) -> dict[str, Tensor]:
        transform.train(batch.step < frozen_from)  # batch norm is the only layer with a mode
        inputs = earlier(*views.stored(batch))
        target = views.of_batch("new", batch)
        transformed = over_processes(transform, *inputs)
        terms: dict[str, Tensor] = {}
        if weights["l2"]:
            terms["l2"] = weights["l2"] * forward_transform_loss(transformed, target)
        if weights["arc"]:
            assert classifier is not None  # checked by _classifier_rows
            of_label = rows[batch.labels]
            known = of_label >= 0
            # Images of classes that the new model's classifier lacks contribute 0.
            share = known.float().mean()
            term = transformed.sum() * 0.0
            if known.any():
                term = classification_loss(transformed[known], classifier, of_label[known], chosen) * share
            terms["arc"] = weights["arc"] * term
        if weights["regression"]:
            terms["regression"] = weights["regression"] * embedding_regression_loss(transformed, target)
        return terms

    return objective


def _classifier_rows(new: Checkpoint, classes: tuple[str, ...]) -> Tensor:
    """Row of the new model's classifier for each training class, int64; -1 where it has none."""
    if new.classifier is None:
        raise TrainingError(
            f"{new.path} has no classifier, which the term 'arc' needs; set arc to 0 and regression above 0, or use "
            f"method 'fct'"
        )
    position = {name: row for row, name in enumerate(new.classes)}
    rows = torch.tensor([position.get(name, -1) for name in classes])
    if not (rows >= 0).any():
        raise TrainingError(
            f"none of the {len(classes)} training classes (such as {classes[0]!r}) is known to {new.path}, so its "
            f"classifier teaches nothing; train on the new model's data, or set arc to 0 and regression above 0"
        )
    return rows
