"""Training of a supernet: one member per step, drawn by cost, its channel scales opened one after the other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.digests import file_problem, sha256_file
from compat_sdk.files.documents import read_json
from compat_sdk.files.seal import sealed_json, unsealed
from compat_sdk.progress import Progress
from compat_train.config.settings import changed_settings, config_to_json
from compat_train.data.batches import Batch
from compat_train.data.origin import Origin
from compat_train.data.training_set import TrainingSet
from compat_train.device import device_of, place
from compat_train.loop import fit
from compat_train.methods.centred_output import Cone
from compat_train.methods.choose import choose, needs_vectors
from compat_train.methods.classify import new_classifier
from compat_train.methods.gallery_vectors import gallery_vectors
from compat_train.methods.length_statistics import LengthStatistics
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.models.search_space import SCALES, Member
from compat_train.models.supernet import Supernet
from compat_train.nas.cmp.config import CmpConfig, SupernetConfig
from compat_train.nas.cmp.cost import CostTable
from compat_train.nas.cmp.latency import costs_of
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.parallel.group import leads, together
from compat_train.parallel.rows import over_processes
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.data_record import require_same_data
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import on_cpu

WEIGHTS, MANIFEST = "supernet.safetensors", "supernet.json"
_MEMBERS = 4


class MemberSchedule:
    """Which member each step trains: a function of the step's number and the seed alone.

    A step draws one of ``bins`` equal ranges of MMACs, or of milliseconds where budgets are in them, then a member
    uniformly within it, so that the smallest tier is trained as often as the largest; a uniform draw from the whole
    space never reaches it. Ranges end at the highest budget: larger members are no candidates.

    In the first ``channel_warmup`` of the steps the channel scales open from the largest down: leading channels serve
    every scale, and with all ten from the start the small ones pull them apart before any has learned.
    CanyonWind's public search found that all scales together do not converge from scratch; this schedule is after it.

    In the first ``operation_warmup`` of the steps every block runs its first operation; then the others start from its
    weights (`Supernet.start_operations`). Operations that start apart turn the same image into unrelated features,
    and a network that runs them in random order stays at chance for thousands of steps.

    Args:
        costs: Cost of every choice.
        config: Bins and warm-up.
        budget: Highest tier, in the unit of ``costs``.
        steps: Steps of the whole training.
        seed: Source of all randomness.
    """

    def __init__(self, costs: CostTable, config: SupernetConfig, *, budget: float, steps: int, seed: int) -> None:
        self._costs, self._config, self._budget, self._steps, self._seed = costs, config, budget, steps, seed
        self.operations_open = round(config.operation_warmup * steps)
        """First step at which all operations are drawn."""
        self._sampler = lru_cache(maxsize=None)(
            lambda scales: MemberSampler(costs, scales=range(len(SCALES) - scales, len(SCALES)))
        )

    def open_scales(self, step: int) -> int:
        """How many channel scales may be drawn at a step, from the largest: 1 at first, all ten after the warm-up."""
        first, last = self.operations_open, self._config.channel_warmup * self._steps
        if step >= last:
            return len(SCALES)
        return 1 if step < first else 1 + int((step - first) / (last - first) * len(SCALES) * 0.999)

    def member(self, step: int) -> Member:
        """The member that a step trains."""
        if step < self.operations_open:
            blocks = len(self._costs.choices)
            return Member(self._costs.space, (0,) * blocks, (len(SCALES) - 1,) * blocks)
        sampler: MemberSampler = self._sampler(self.open_scales(step))
        generator = np.random.default_rng((self._seed, _MEMBERS, step))
        low, high = sampler.lowest, min(sampler.highest, max(self._budget, 1.1 * sampler.lowest))
        bins = self._config.bins
        if bins:
            place = int(generator.integers(bins))
            low, high = low + (high - low) * place / bins, low + (high - low) * (place + 1) / bins
        else:
            high = sampler.highest
        return sampler.draw(generator, low, high)


@together
def train_supernet(
    config: CmpConfig, gallery: Checkpoint, data: TrainingSet, out: Path, progress: Progress | None = None
) -> Path:
    """Trains the supernet of a run, or resumes it, or returns at once when it is finished.

    The loss is the query models' own (BCT by default, the gallery classifier frozen), of a single member per step.
    A step moves what its member uses and nothing else: operations and channels that were not drawn keep their values
    and their momentum, and do not decay. Up to 0.7 undrawn channels of drawn operations moved.

    Where targets are centred, the file also has the cone that completes a member's outputs, as `write_mean` does for a
    trained network.

    Args:
        config: The whole run's.
        gallery: The gallery model.
        data: Training images.
        out: Folder for the weights and the resume points.
        progress: Called after each step.

    Returns:
        The safetensors file of the finished supernet.

    Raises:
        TrainingError: The loss is not finite, or the folder belongs to a run with other settings or data.
    """
    query = config.training("shufflenet_v2", method=config.supernet.method)
    optimisation = config.supernet.optimisation
    settings = {
        "supernet": config_to_json(config.supernet),
        "training": {
            name: value for name, value in config_to_json(query).items() if name not in ("arch", "optimisation")
        },
        "space": config.search_space.name,
        "budget": max(config.budgets),
        "gallery_space": gallery.space,
    }
    if config.table is not None:
        settings["table"] = sha256_file(config.table)
    if finished := _finished(out, settings, data.origin):
        return finished
    device = device_of(config.execution.device)
    vectors = None
    if needs_vectors(query, gallery, data):
        vectors = gallery_vectors(gallery, data, device, seed=config.execution.seed)
    query, _ = choose(query, gallery, data, vectors)
    rows = gallery_rows(query, gallery, data)
    torch.manual_seed(config.execution.seed)
    supernet = Supernet(config.search_space, dim=gallery.dim, stem_stride=config.stem_stride)
    classifier = new_classifier(len(data.classes), gallery.dim)
    trained = nn.ModuleDict({"supernet": supernet})
    if query.term_weights["own"] or query.term_weights["kd"]:
        trained["classifier"] = classifier
    lengths = LengthStatistics.of(query.classification or gallery.classification)
    if lengths is not None:
        trained["lengths"] = lengths
    place(trained, device)
    batches = data.batches(optimisation, config.execution, config.augmentation, gallery.preprocessing, device)
    schedule = MemberSchedule(
        costs_of(config, size=gallery.preprocessing.size, dim=gallery.dim),
        config.supernet,
        budget=max(config.budgets),
        steps=batches.steps_per_epoch * optimisation.epochs,
        seed=config.execution.seed,
    )

    def embed(inputs: Tensor, batch: Batch) -> Tensor:
        if batch.step == schedule.operations_open > 0:
            supernet.start_operations()
        member = schedule.member(batch.step)
        return over_processes(lambda rows: supernet(rows, member), inputs)

    objective: Callable[[Batch], dict[str, Tensor]] = compatibility_objective(
        query, gallery, data, embed, classifier, rows, device, vectors=vectors, lengths=lengths
    )
    fit(
        trained,
        objective,
        batches,
        optimisation,
        config.execution,
        run=out,
        settings=settings,
        origin=data.origin,
        stage=f"train supernet ({query.method})",
        progress=progress,
        moved=lambda step: supernet.drawn_parts(schedule.member(step)),
    )
    state = on_cpu(supernet.state_dict())
    if query.centred and vectors is not None:
        state |= Cone.around(vectors.vectors, vectors.mean).to_state()
    weights = save_tensors(state)
    if leads():
        write_atomic(out / WEIGHTS, weights)
        record = {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
        write_atomic(out / MANIFEST, sealed_json({"weights": record, "settings": settings}))
        ResumePoints(out).clear()
    return out / WEIGHTS


def _finished(out: Path, settings: dict[str, object], origin: Origin) -> Path | None:
    if not os.path.lexists(out / MANIFEST):
        return None
    found = unsealed(read_json(out / MANIFEST), str(out / MANIFEST), required=False)
    if changes := changed_settings(found.get("settings"), settings):
        raise TrainingError(
            f"{out} already holds a supernet trained with other settings: {changes}; search into another folder, or "
            f"delete it"
        )
    require_same_data(out, origin)
    record = found.get("weights")
    problem = file_problem(out / WEIGHTS, record) if isinstance(record, dict) else "has no record"
    if problem is not None:
        raise CorruptFileError(f"{out / WEIGHTS} {problem}; delete {out} to train the supernet again")
    return out / WEIGHTS
