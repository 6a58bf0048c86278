"""The values of the loss, read from the device of several steps at once: each reading stops it until it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compat_sdk.errors import TrainingError

_STEPS = 10


class DivergedError(TrainingError):
    """A loss is not finite, or a weight after the last step."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One step.

    Attributes:
        step: Number of the step, from 0.
        epoch: From 1.
        rate: Learning rate.
        values: The loss, and each term by name.
    """

    step: int
    epoch: int
    rate: float
    values: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Noted:
    step: int
    epoch: int
    rate: float
    rows: Tensor
    names: tuple[str, ...]
    values: Tensor


class Readings:
    """Losses that were computed and not read yet."""

    def __init__(self, device: torch.device, run: Path) -> None:
        """On the CPU, where reading costs nothing, no loss waits.

        Args:
            device: Where the losses are.
            run: RUN folder, for the error.
        """
        self._every = _every(device)
        self._run = run
        self._waiting: list[_Noted] = []
        self._first = True

    def note(self, step: int, epoch: int, rate: float, rows: Tensor, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Takes the losses of one step, scalars on the device; ``rows`` of the batch are for the error."""
        values = torch.stack([loss.detach(), *(term.detach() for term in terms.values())])
        self._waiting.append(_Noted(step, epoch, rate, rows[:5], ("loss", *terms), values))

    @property
    def due(self) -> bool:
        """Whether enough wait to be read; the first step is read at once, so that what is wrong shows early."""
        return self._first or len(self._waiting) >= self._every

    def read(self) -> list[Reading]:
        """Every step that waits, oldest first.

        Raises:
            DivergedError: A loss is not finite.
        """
        waiting, self._waiting, self._first = self._waiting, [], False
        if not waiting:
            return []
        found = torch.cat([each.values for each in waiting]).tolist()
        readings = []
        for noted in waiting:
            own, found = found[: len(noted.names)], found[len(noted.names) :]
            values = dict(zip(noted.names, own, strict=True))
            if not all(map(math.isfinite, values.values())):
                raise DivergedError(_not_finite(values, noted, waiting[-1].step, self._run))
            readings.append(Reading(noted.step, noted.epoch, noted.rate, values))
        return readings


def _every(device: torch.device) -> int:
    """How many steps a device goes on before its losses are read."""
    return 1 if device.type == "cpu" else _STEPS


def _not_finite(values: Mapping[str, float], at: _Noted, last: int, run: Path) -> str:
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    rows = ", ".join(str(int(row)) for row in at.rows)
    since = "Nothing was updated at this step" if at.step == last else f"It was read at step {last + 1}"
    return (
        f"the loss is not finite at step {at.step + 1} (epoch {at.epoch}, learning rate {at.rate:.4g}): {bad} in "
        f"{dict(values)}; the batch begins with training rows {rows}. {since} and the "
        f"resume points in {run / 'state'} are from before it. Lower the learning rate or lengthen the warm-up"
    )
