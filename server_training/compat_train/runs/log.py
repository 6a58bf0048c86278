"""The record of a training run: `log.jsonl`, `held_out.jsonl` where images are held out, TensorBoard where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

_HELD_OUT = "held_out.jsonl"


class TrainingLog:
    """One JSON object per step: step, epoch, learning rate and every loss term; and one per look at held-out images.

    A resumed run cuts off what was logged beyond its resume point, so that each step stands there once.
    """

    def __init__(self, run: Path, resumed_at: int) -> None:
        """Opens ``run/log.jsonl`` for appending after step ``resumed_at``."""
        run.mkdir(parents=True, exist_ok=True)
        self._file = _shortened(run / "log.jsonl", read_log(run), resumed_at).open("a", encoding="utf-8")
        self._looks = run / _HELD_OUT
        if not resumed_at:
            self._looks.unlink(missing_ok=True)
        elif self._looks.is_file():
            _shortened(self._looks, read_looks(run), resumed_at)
        self._events = _tensorboard(run, resumed_at)

    def write(self, step: int, epoch: int, rate: float, values: Mapping[str, float]) -> None:
        """Adds one step."""
        self._file.write(json.dumps({"step": step, "epoch": epoch, "lr": rate} | dict(values)) + "\n")
        if self._events is not None:
            for name, value in ({"lr": rate} | dict(values)).items():
                self._events.add_scalar(f"train/{name}", value, step)

    def look(self, row: Mapping[str, Any]) -> None:
        """Adds what was seen on held-out images after ``row["step"]`` steps; it survives the process."""
        with self._looks.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        if self._events is not None:
            for name in ("accuracy", "cosine"):
                self._events.add_scalar(f"held out/{name}", row[name], row["step"])

    def flush(self) -> None:
        """Hands what was written to the system, so that it survives the process."""
        self._file.flush()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_log(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's ``log.jsonl``, oldest first; a last line that was cut off by a crash is left out."""
    return _rows(run / "log.jsonl")


def read_looks(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's ``held_out.jsonl``, oldest first: M(q,g) at top-1 as ``accuracy``, and more of `watch.Look`."""
    return _rows(run / _HELD_OUT)


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _shortened(path: Path, rows: list[dict[str, Any]], step: int) -> Path:
    """Writes a log again, without what came after ``step``."""
    kept = [row for row in rows if row["step"] <= step]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return path


def _tensorboard(run: Path, resumed_at: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=resumed_at)
