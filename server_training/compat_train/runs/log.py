"""The record of a training run: `log.jsonl` always, TensorBoard events when it is installed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from compat_sdk.errors import CorruptFileError
from compat_sdk.files import make_folder, open_plain, open_to_append, parse_json, raise_if_refused, write_atomic
from compat_train.runs.saving import saving

_FILE = "log.jsonl"


class TrainingLog:
    """One JSON object per step: step, epoch, learning rate and every loss term.

    A resumed run cuts off what was logged beyond its resume point, so that each step stands there once.
    """

    def __init__(self, run: Path, resumed_at: int) -> None:
        """Opens ``run/log.jsonl`` for appending after step ``resumed_at``.

        Raises:
            TrainingError: The disk is full, or the folder cannot be written.
        """
        self._path = run / _FILE
        kept = [row for row in read_log(run) if row["step"] <= resumed_at]
        with saving(self._path):
            make_folder(run)
            write_atomic(self._path, "".join(json.dumps(row) + "\n" for row in kept).encode())
            self._file = open_to_append(self._path)
            self._events = _tensorboard(run, resumed_at)

    def write(self, step: int, epoch: int, rate: float, values: Mapping[str, float]) -> None:
        """Adds one step.

        Raises:
            TrainingError: The disk is full.
        """
        with saving(self._path):
            self._file.write(json.dumps({"step": step, "epoch": epoch, "lr": rate} | dict(values)).encode() + b"\n")
            if self._events is not None:
                for name, value in ({"lr": rate} | dict(values)).items():
                    self._events.add_scalar(f"train/{name}", value, step)

    def flush(self) -> None:
        """Puts what was written on the disk: a resume point that follows finds every step before it.

        Raises:
            TrainingError: The disk is full.
        """
        with saving(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error is not None else saving(self._path):  # the first error is the one to tell
            with self._file:
                if error is None:
                    self.flush()
            if self._events is not None:
                self._events.close()


def read_log(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's ``log.jsonl``, oldest first, up to the first line that a crash has cut off or spoilt.

    Each has an integer ``step`` and ``epoch``, and numbers or None under other names.

    Raises:
        CorruptFileError: It is no plain file.
        SystemRefusedError: The system refused to read it.
    """
    path, rows = run / _FILE, []
    if not os.path.lexists(path):
        return []
    try:
        with open_plain(path) as file:
            for line in file:
                row = _row(line)
                if row is None:
                    break
                rows.append(row)
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; delete it") from error
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = parse_json(line, _FILE)
    except CorruptFileError:
        return None
    whole = type(row.get("step")) is int and type(row.get("epoch")) is int
    return row if whole and all(value is None or type(value) in (int, float) for value in row.values()) else None


def _tensorboard(run: Path, resumed_at: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=resumed_at)
