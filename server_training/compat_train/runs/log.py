"""The record of a training run: `log.jsonl`, `held_out.jsonl` where images are held out, TensorBoard where it is."""

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
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import parse_json
from compat_sdk.files.plain import open_plain, open_to_append
from compat_sdk.files.refusal import raise_if_refused
from compat_train.runs.saving import saving

_FILE, _HELD_OUT = "log.jsonl", "held_out.jsonl"


class TrainingLog:
    """One JSON object per step: step, epoch, learning rate and every loss term; and one per look at held-out images.

    A resumed run cuts off what was logged beyond its resume point, so that each step stands there once.
    """

    def __init__(self, run: Path, resumed_at: int) -> None:
        """Opens ``run/log.jsonl`` for appending after step ``resumed_at``.

        Raises:
            TrainingError: The disk is full, or the folder cannot be written.
        """
        self._path, self._looks = run / _FILE, run / _HELD_OUT
        rows, looks = read_log(run), read_looks(run)
        with saving(self._path):
            make_folder(run)
            _shorten(self._path, rows, resumed_at)
            if not resumed_at:
                self._looks.unlink(missing_ok=True)
            elif looks:
                _shorten(self._looks, looks, resumed_at)
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

    def look(self, row: Mapping[str, Any]) -> None:
        """Adds what was seen on held-out images after ``row["step"]`` steps; it survives the process.

        Raises:
            TrainingError: The disk is full.
        """
        with saving(self._looks), open_to_append(self._looks) as file:
            file.write(json.dumps(dict(row)).encode() + b"\n")
        if self._events is not None:
            for name in ("accuracy", "cosine"):
                self._events.add_scalar(f"held out/{name}", row[name], row["step"])

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
    return _rows(run / _FILE, ("step", "epoch"), ())


def read_looks(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's ``held_out.jsonl``, oldest first: M(q,g) at top-1 as ``accuracy``, and more of `watch.Look`.

    Raises:
        CorruptFileError: It is no plain file.
        SystemRefusedError: The system refused to read it.
    """
    rows = _rows(run / _HELD_OUT, ("step", "queries", "gallery"), ("by",))
    whole = [all(type(row.get(name)) is float for name in ("accuracy", "chance", "cosine")) for row in rows]
    return rows[: whole.index(False)] if False in whole else rows


def _rows(path: Path, counts: tuple[str, ...], texts: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows up to the first that lacks a count or has anything but numbers, truths and these texts."""
    rows: list[dict[str, Any]] = []
    if not os.path.lexists(path):
        return rows
    try:
        with open_plain(path) as file:
            for line in file:
                row = _row(line, path.name, counts, texts)
                if row is None:
                    break
                rows.append(row)
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; delete it") from error
    return rows


def _row(line: bytes, name: str, counts: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = parse_json(line, name)
    except CorruptFileError:
        return None
    whole = all(type(row.get(count)) is int for count in counts) and all(type(row.get(text)) is str for text in texts)
    numbers = (value for key, value in row.items() if key not in texts)
    return row if whole and all(value is None or type(value) in (int, float, bool) for value in numbers) else None


def _shorten(path: Path, rows: list[dict[str, Any]], step: int) -> None:
    """Writes a log again, without what came after ``step``."""
    kept = [row for row in rows if row["step"] <= step]
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept).encode())


def _tensorboard(run: Path, resumed_at: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=resumed_at)
