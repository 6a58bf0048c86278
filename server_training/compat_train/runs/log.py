"""The record of a training run: `log.jsonl` always, TensorBoard events when it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from compat_sdk.files import write_atomic
from compat_train.runs.saving import saving


class TrainingLog:
    """One JSON object per step: step, epoch, learning rate and every loss term.

    A resumed run cuts off what was logged beyond its resume point, so that each step stands there once.
    """

    def __init__(self, run: Path, resumed_at: int) -> None:
        """Opens ``run/log.jsonl`` for appending after step ``resumed_at``.

        Raises:
            TrainingError: The disk is full, or the folder cannot be written.
        """
        self._path = run / "log.jsonl"
        kept = [row for row in read_log(run) if row["step"] <= resumed_at]
        with saving(self._path):
            run.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, "".join(json.dumps(row) + "\n" for row in kept).encode())
            self._file = self._path.open("a", encoding="utf-8")
            self._events = _tensorboard(run, resumed_at)

    def write(self, step: int, epoch: int, rate: float, values: Mapping[str, float]) -> None:
        """Adds one step.

        Raises:
            TrainingError: The disk is full.
        """
        with saving(self._path):
            self._file.write(json.dumps({"step": step, "epoch": epoch, "lr": rate} | dict(values)) + "\n")
            if self._events is not None:
                for name, value in ({"lr": rate} | dict(values)).items():
                    self._events.add_scalar(f"train/{name}", value, step)

    def flush(self) -> None:
        """Hands what was written to the system, so that it survives the process.

        Raises:
            TrainingError: The disk is full.
        """
        with saving(self._path):
            self._file.flush()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error is not None else saving(self._path):  # the first error is the one to tell
            self._file.close()
            if self._events is not None:
                self._events.close()


def read_log(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's ``log.jsonl``, oldest first, up to the first that is none: a crash may cut off the last."""
    path = run / "log.jsonl"
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            break
        rows.append(row)
    return rows


def _tensorboard(run: Path, resumed_at: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=resumed_at)
