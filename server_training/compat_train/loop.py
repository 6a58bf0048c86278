"""The one training loop: resumable at any step, with the same weights as if it had never stopped."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.progress import Progress
from compat_train.config.parts import Execution, Optimisation
from compat_train.config.settings import changed_settings
from compat_train.data.batches import Batch, Batches, step_generator
from compat_train.data.origin import Origin
from compat_train.device import torch_threads
from compat_train.optimiser import Part, kept_tensors, make_optimiser, parts_alone, restore_tensors
from compat_train.pace import Pace
from compat_train.parallel.group import at_step, leads, meet, processes, rank
from compat_train.parallel.rows import average_gradients, same_everywhere, share_state
from compat_train.precision import autocast_type, loss_scaler
from compat_train.readings import DivergedError, Reading, Readings
from compat_train.runs.data_record import require_same_data, write_data_record
from compat_train.runs.log import TrainingLog, read_looks
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import alone
from compat_train.watch import Look, Watch, deaf, is_due

Objective = Callable[[Batch], dict[str, Tensor]]
Parts = Callable[[int], Iterable[Part]]

_STEP_SEED, _RANKS = 3, 64
_SECONDS_BETWEEN_RESUME_POINTS = 60.0


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
    ended: Callable[[int], bool] | None = None,
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
        moved: From the number of a step to parameters of which it may move a part alone; asked once gradients are
            there.
        ended: Asked after each step, with the steps done, whether it was the last; what the answer depends on belongs
            to ``trained``, so that a resumed run gives the same.

    Raises:
        DivergedError: The loss is not finite.
        TrainingError: The folder belongs to a run with other settings or data, or another process is training in it.
    """
    device = next(trained.parameters()).device
    _require_rows(optimisation)
    half = autocast_type(execution, device)
    steps = batches.steps_per_epoch * optimisation.epochs
    optimiser, scaler = make_optimiser(trained, optimisation), loss_scaler(half, device)
    points = ResumePoints(run)
    facts = {"settings": json.loads(json.dumps(settings))}
    lock = alone(run / "state" / "lock", f"training in {run}") if leads() else nullcontext()
    with lock, torch_threads(execution.threads or None):
        start = _resume(run, trained, optimiser, scaler, facts, origin)
        _agree(start, trained, device)
        if origin is not None and not start and leads():
            write_data_record(run, origin)
        saved_at = time.monotonic()
        trained.train()
        with TrainingLog(run, resumed_at=start) if leads() else nullcontext() as log:
            eyes = None if watch is None or log is None else _Eyes(watch, log, steps, read_looks(run))
            if eyes is not None and not start:
                eyes.look(0)
            pace = Pace(steps, optimisation.batch)
            readings, values = Readings(device, run), dict[str, float]()
            for step, batch in batches.between(start, steps):
                at_step(step)
                # Layers with randomness of their own (dropout) draw from the global generator; the rows of another
                # process draw otherwise.
                torch.manual_seed(step_generator(execution.seed, _STEP_SEED + _RANKS * rank(), step).initial_seed())
                rate = learning_rate(step, batches.steps_per_epoch, optimisation)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                with torch.autocast(device.type, half, enabled=half is not None):
                    terms = objective(batch)
                loss = torch.stack(list(terms.values())).sum()
                epoch, place = divmod(step, batches.steps_per_epoch)
                readings.note(step, epoch + 1, rate, batch.index, loss, terms)
                read = readings.read() if readings.due else []
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                with parts_alone(optimiser, [] if moved is None else moved(step)):
                    average_gradients(trained.parameters())
                    if optimisation.gradient_norm:
                        scaler.unscale_(optimiser)
                        nn.utils.clip_grad_norm_(trained.parameters(), optimisation.gradient_norm)
                    scaler.step(optimiser)
                scaler.update()
                looks = eyes is not None and is_due(step + 1, steps)
                last_of_epoch = place + 1 == batches.steps_per_epoch
                saves = leads() and _is_due(execution, step + 1, last_of_epoch, time.monotonic() - saved_at)
                if looks or saves:
                    read += readings.read()
                values = _written(log, read) or values
                if eyes is not None and looks:
                    eyes.look(step + 1)
                pace.step(step + 1)
                if progress is not None and leads():
                    seen = {} if eyes is None else eyes.values
                    parts = values if len(terms) > 1 else {"loss": values["loss"]}  # of one term it is the term
                    shown = {"epoch": float(epoch + 1), "lr": rate} | parts | seen | pace.values
                    pace.announce(stage, step + 1, progress, on_cpu=device.type == "cpu")
                    progress(stage, step + 1, steps, shown)
                if log is not None and saves:
                    log.flush()
                    points.save(step + 1, kept_tensors(trained, optimiser, scaler), facts)
                    saved_at = time.monotonic()
                if ended is not None and ended(step + 1):
                    break
            _written(log, readings.read())
    at_step(None)
    bad = [name for name, value in trained.state_dict().items() if not torch.isfinite(value).all()]
    if bad:  # by the last step, whose loss was still finite
        raise DivergedError(
            f"after the last of {steps} steps {len(bad)} tensors of {run} are not finite, such as {bad[0]}; lower the "
            f"learning rate or raise warmup_epochs, and train into another folder"
        )
    trained.eval()


def _written(log: TrainingLog | None, read: Sequence[Reading]) -> dict[str, float]:
    """Writes steps into the log, where this process has one, and gives the values of the last; empty without steps."""
    for reading in read:
        if log is not None:
            log.write(reading.step + 1, reading.epoch, reading.rate, reading.values)
    return read[-1].values if read else {}


def _require_rows(optimisation: Optimisation) -> None:
    if optimisation.batch < processes():
        raise ConfigError(
            f"batch is {optimisation.batch}, and {processes()} processes share it; expected an image for each: "
            f"raise batch or start fewer",
            setting="batch",
        )


def _agree(start: int, trained: nn.Module, device: torch.device) -> None:
    """Lets several processes begin at one step and with the same numbers, to the last bit."""
    meet()  # what came before may take the leader longer than a step may
    starts = same_everywhere(start, device)
    if len(set(starts)) > 1:
        raise TrainingError(
            f"the processes found resume points of steps {starts}, in the order of their ranks; let all see the "
            f"same folder"
        )
    share_state(trained.state_dict().values())


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


def _is_due(execution: Execution, done: int, last_of_epoch: bool, seconds: float) -> bool:
    if execution.checkpoint_steps:
        return done % execution.checkpoint_steps == 0
    return last_of_epoch or seconds > _SECONDS_BETWEEN_RESUME_POINTS


def _resume(
    run: Path,
    trained: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
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
    restore_tensors(tensors, trained, optimiser, scaler)
    return step
