"""The one training loop: resumable at any step, with the same weights as if it had never stopped."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.progress import Progress
from compat_train.config.settings import changed_settings
from compat_train.config.training import Execution, Optimisation
from compat_train.data.batches import Batch, Batches, step_generator
from compat_train.data.origin import Origin
from compat_train.device import torch_threads
from compat_train.pace import Pace
from compat_train.runs.data_record import require_same_data, write_data_record
from compat_train.runs.log import TrainingLog, read_looks
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import alone
from compat_train.watch import Look, Watch, deaf, is_due

Objective = Callable[[Batch], dict[str, Tensor]]
Parts = Callable[[int], Iterable[tuple[nn.Parameter, tuple[slice, ...]]]]

_STEP_SEED = 3
_SECONDS_BETWEEN_RESUME_POINTS = 60.0


class DivergedError(TrainingError):
    """A loss is not finite, or a weight after the last step."""


def learning_rate(step: int, steps_per_epoch: int, optimisation: Optimisation) -> float:
    """Learning rate of one step: linear growth during the warm-up, then cosine or stepwise decay.

    Args:
        step: Number of the step, from 0.
        steps_per_epoch: Steps in one pass over the training split.
        optimisation: Highest rate, schedule, warm-up and milestones.

    Returns:
        A rate in (0, optimisation.lr].
    """
    warmup = round(optimisation.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return optimisation.lr * (step + 1) / warmup
    if optimisation.schedule == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in optimisation.milestones)
        return optimisation.lr * float(0.1**passed)
    total = max(optimisation.epochs * steps_per_epoch - warmup, 1)
    return optimisation.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / total))


def fit(
    trained: nn.Module,
    objective: Objective,
    batches: Batches,
    optimisation: Optimisation,
    execution: Execution,
    *,
    run: Path,
    settings: Mapping[str, Any],
    origin: Origin | None = None,
    stage: str = "train",
    watch: Watch | None = None,
    progress: Progress | None = None,
    moved: Parts | None = None,
) -> None:
    """Trains a module in place, to the last step, wherever an earlier attempt in the same folder stopped.

    Batches, views and every other random choice depend on the seed and the step number alone, so a run that
    was killed at any moment and started again ends with the same weights, bit for bit on the CPU.

    Args:
        trained: Holds every trained parameter and buffer; already on its device.
        objective: From a batch to its weighted loss terms; the loss is their sum.
        batches: The training set.
        optimisation: Optimiser, its settings and the length of the run.
        execution: Seed, precision and how often to write a resume point.
        run: RUN folder: ``log.jsonl`` and ``state/`` are written there.
        settings: Everything that decides the result; a resumed run must have the same.
        origin: What is learnt from, noted in ``data.json``; a resumed run must have the same. None where the settings
            tell.
        stage: Name of this training in progress reports.
        watch: Held-out images to look at twenty times; a warning says when closeness rises and retrieval does not.
        progress: Called after each step with stage, steps done, steps in all, and the latest values.
        moved: From the number of a step to parameters of which it may move a part alone, and that part.

    Raises:
        DivergedError: The loss is not finite.
        TrainingError: The folder belongs to a run with other settings or data, or another process is training in it.
    """
    device = next(trained.parameters()).device
    autocast = use_bf16(execution, device)
    steps = batches.steps_per_epoch * optimisation.epochs
    optimiser = _optimiser(trained, optimisation)
    points = ResumePoints(run)
    facts = {"settings": json.loads(json.dumps(settings))}
    with alone(run / "state" / "lock", f"training in {run}"), torch_threads(execution.threads or None):
        start = _resume(run, trained, optimiser, facts, origin)
        if origin is not None and not start:
            write_data_record(run, origin)
        saved_at = time.monotonic()
        trained.train()
        with TrainingLog(run, resumed_at=start) as log:
            eyes = None if watch is None else _Eyes(watch, log, steps, read_looks(run))
            if eyes is not None and not start:
                eyes.look(0)
            pace = Pace(steps, optimisation.batch)
            for step, batch in batches.between(start, steps):
                # Layers with randomness of their own (dropout) draw from the global generator.
                torch.manual_seed(step_generator(execution.seed, _STEP_SEED, step).initial_seed())
                rate = learning_rate(step, batches.steps_per_epoch, optimisation)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                    terms = objective(batch)
                loss = torch.stack(list(terms.values())).sum()
                epoch, place = divmod(step, batches.steps_per_epoch)
                values = {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}
                if not all(map(math.isfinite, values.values())):
                    raise DivergedError(_not_finite(values, step, epoch + 1, rate, batch, run))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if optimisation.gradient_norm:
                    nn.utils.clip_grad_norm_(trained.parameters(), optimisation.gradient_norm)
                _step(optimiser, [] if moved is None else moved(step))
                log.write(step + 1, epoch + 1, rate, values)
                if eyes is not None and is_due(step + 1, steps):
                    eyes.look(step + 1)
                pace.step(step + 1)
                if progress is not None:
                    seen = {} if eyes is None else eyes.values
                    parts = values if len(terms) > 1 else {"loss": values["loss"]}  # of one term it is the term
                    shown = {"epoch": float(epoch + 1), "lr": rate} | parts | seen | pace.values
                    pace.announce(stage, step + 1, progress, on_cpu=device.type == "cpu")
                    progress(stage, step + 1, steps, shown)
                last_of_epoch = place + 1 == batches.steps_per_epoch
                if _is_due(execution, step + 1, last_of_epoch, time.monotonic() - saved_at):
                    log.flush()
                    points.save(step + 1, _tensors(trained, optimiser), facts)
                    saved_at = time.monotonic()
    bad = [name for name, value in trained.state_dict().items() if not torch.isfinite(value).all()]
    if bad:  # by the last step, whose loss was still finite
        raise DivergedError(
            f"after the last of {steps} steps {len(bad)} tensors of {run} are not finite, such as {bad[0]}; lower the "
            f"learning rate or raise warmup_epochs, and train into another folder"
        )
    trained.eval()


def _step(optimiser: torch.optim.Optimizer, parts: Iterable[tuple[nn.Parameter, tuple[slice, ...]]]) -> None:
    """One step that leaves the rest of partly used parameters as it is, in value and in momentum.

    The rest has a gradient of zero, not none: weight decay and momentum would move it all the same.
    """
    held = [(weight, part, weight.detach().clone(), _moments(optimiser, weight, clone=True)) for weight, part in parts]
    optimiser.step()
    with torch.no_grad():
        for weight, part, before, moments in held:
            _restore(weight, part, before)
            for name, moment in _moments(optimiser, weight).items():
                _restore(moment, part, moments.get(name, torch.zeros_like(moment)))


def _moments(optimiser: torch.optim.Optimizer, weight: nn.Parameter, *, clone: bool = False) -> dict[str, Tensor]:
    """What an optimiser remembers of each number of a weight."""
    known = optimiser.state.get(weight, {})
    found = {name: value for name, value in known.items() if isinstance(value, Tensor) and value.shape == weight.shape}
    return {name: value.clone() for name, value in found.items()} if clone else found


def _restore(tensor: Tensor, part: tuple[slice, ...], before: Tensor) -> None:
    """Gives a tensor its earlier values outside of a part."""
    inside = tensor[part].clone()
    tensor.copy_(before)
    tensor[part] = inside


class _Eyes:
    """The looks of one training, from the one before the first step on."""

    def __init__(self, watch: Watch, log: TrainingLog, steps: int, before: list[dict[str, Any]]) -> None:
        self._watch, self._log, self._steps = watch, log, steps
        self._first = Look.from_json(before[0]) if before else None
        self._warned = False
        self.values: dict[str, float] = {}

    def look(self, step: int) -> None:
        now = self._watch.look(step)
        self._first = self._first or now
        self._log.look(now.to_json())
        self.values = {"M(q,g)": now.accuracy}
        if not self._warned and (problem := deaf(self._first, now, self._steps)):
            warnings.warn(problem, stacklevel=3)
            self._warned = True


def use_bf16(execution: Execution, device: torch.device) -> bool:
    """Whether to run under bfloat16 autocast: as asked, or, for ``auto``, on CUDA only.

    On the CPU it is left to the caller: it speeds up plain convolutions and slows down depthwise ones
    (benchmarks/speed/train_step.py).
    """
    return execution.precision == "bf16" or (execution.precision == "auto" and device.type == "cuda")


def _is_due(execution: Execution, done: int, last_of_epoch: bool, seconds: float) -> bool:
    if execution.checkpoint_steps:
        return done % execution.checkpoint_steps == 0
    return last_of_epoch or seconds > _SECONDS_BETWEEN_RESUME_POINTS


def _optimiser(trained: nn.Module, optimisation: Optimisation) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": optimisation.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if optimisation.optimiser == "adam":
        return torch.optim.Adam(groups, lr=optimisation.lr, betas=(optimisation.momentum, 0.999))
    return torch.optim.SGD(groups, lr=optimisation.lr, momentum=optimisation.momentum)


# What an optimiser keeps for each parameter, and its name in a resume point.
_KEPT = {"momentum_buffer": "momentum", "exp_avg": "mean", "exp_avg_sq": "square", "step": "steps"}


def _tensors(trained: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in trained.state_dict().items()}
    for name, parameter in trained.named_parameters():
        kept = optimiser.state[parameter] if parameter in optimiser.state else {}
        for key, prefix in _KEPT.items():
            if kept.get(key) is not None:
                tensors[f"{prefix}.{name}"] = kept[key]
    return tensors


def _resume(
    run: Path,
    trained: nn.Module,
    optimiser: torch.optim.Optimizer,
    facts: Mapping[str, Any],
    origin: Origin | None,
) -> int:
    found = ResumePoints(run).newest()
    if found is None:
        return 0
    step, tensors, saved_facts, damaged = found
    for problem in damaged:
        warnings.warn(f"a resume point was skipped: {problem}", stacklevel=3)
    if changes := changed_settings(saved_facts.get("settings", {}), facts["settings"]):
        raise TrainingError(
            f"the run was started with other settings ({changes}); repeat the first command to resume it, or train "
            f"into another folder"
        )
    if origin is not None:
        require_same_data(run, origin)
    trained.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    for name, parameter in trained.named_parameters():
        for key, prefix in _KEPT.items():
            if (value := tensors.get(f"{prefix}.{name}")) is None:
                continue
            if value.shape == parameter.shape and key != "step":
                # Laid out like the parameter: a different memory format would change the rounding of nothing,
                # but the speed of every later step.
                value = torch.empty_like(parameter.detach()).copy_(value)
            optimiser.state[parameter][key] = value
    return step


def _not_finite(values: Mapping[str, float], step: int, epoch: int, rate: float, batch: Batch, run: Path) -> str:
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    rows = ", ".join(str(int(row)) for row in batch.index[:5])
    return (
        f"the loss is not finite at step {step + 1} (epoch {epoch}, learning rate {rate:.4g}): {bad} in "
        f"{dict(values)}; the batch begins with training rows {rows}. Nothing was updated at this step and the "
        f"resume points in {run / 'state'} are from before it. Lower the learning rate or lengthen the warm-up"
    )
