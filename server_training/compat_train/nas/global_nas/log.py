"""The log of a global search: what decides its scores, then every network that it came to, one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import parse_json
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import sealed, unsealed
from compat_train.config.settings import changed_settings
from compat_train.models.global_space import GlobalMember
from compat_train.nas.global_nas.search import Step
from compat_train.runs.saving import saving

_FORMAT, _VERSION = "compat-sdk-global-search", 2
_FIGURES = ("cpu_seconds", "wall_seconds", "resumed")


class CandidateLog:
    """Rows of a search in their order, and the memory of its scores.

    A search that goes on runs its algorithm from the start, with the remembered scores; the rows that it comes to again
    must be those of the log. The file is written anew with each row, so it is whole at any moment. Each line is sealed
    with its own digest; up to 0.7, in version 1, none was.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Reads what was measured before, or starts a new log.

        Args:
            path: The file; only one process may use it at a time.
            settings: What decides the scores, as JSON values.

        Raises:
            TrainingError: The file was written with other settings.
            CorruptFileError: The file is damaged.
        """
        self._path, self._repeated = path, 0
        self.rows: list[dict[str, Any]] = []
        self._header = {"format": _FORMAT, "version": _VERSION, "settings": dict(settings)}
        if not os.path.lexists(path):
            return
        header, *lines = [
            parse_json(line, f"line {number} of {path}") for number, line in enumerate(_lines(path), 1)
        ] or [{}]
        saved, version = header.get("settings"), header.get("version")
        if header.get("format") != _FORMAT or version not in (1, _VERSION) or not isinstance(saved, dict):
            raise CorruptFileError(f"{path} has no header of {_FORMAT} version {_VERSION}; move it away to start again")
        if changes := changed_settings(saved, settings):
            raise TrainingError(
                f"{path} belongs to a search with other settings: {changes}; search into another folder"
            )
        unsealed(header, f"line 1 of {path}", required=version == _VERSION)
        for number, line in enumerate(lines, 2):
            row = unsealed(line, f"line {number} of {path}", required=version == _VERSION)
            if not _is_step(row):
                raise CorruptFileError(f"line {number} of {path} is no step of a search; move the file away")
            self.rows.append(row)

    def score(self, member: GlobalMember, epochs: int) -> float | None:
        """The score of a network after a training that the log knows; None for an unknown one."""
        for row in self.rows:
            if (row["arch"], row["epochs"]) == (member.name, epochs) and row["score"] is not None:
                return float(row["score"])
        return None

    def total(self, figure: str) -> float:
        """Sum of a figure over all rows; a row without it counts nothing."""
        return sum(float(row.get(figure, 0.0)) for row in self.rows)

    def record(self, step: Step, **figures: object) -> None:
        """Adds a step, or finds it where the search was before.

        Args:
            step: What the search came to.
            figures: What else is said of it.

        Raises:
            CorruptFileError: The log has another step in this place.
            TrainingError: The disk is full, or the folder cannot be written.
        """
        row = {
            "stage": step.stage,
            "arch": step.member.name,
            "epochs": step.epochs,
            "score": step.score,
            "decision": step.decision,
        }
        if self._repeated < len(self.rows):
            known = self.rows[self._repeated]
            if other := [name for name, value in row.items() if known[name] != value]:
                raise CorruptFileError(
                    f"line {self._repeated + 2} of {self._path} has {other[0]} {known[other[0]]!r} where the search "
                    f"comes to {row[other[0]]!r}; the file was changed, or written by another version: move it away"
                )
        else:
            self.rows.append(row | figures)
            lines = "".join(json.dumps(sealed(line), allow_nan=False) + "\n" for line in (self._header, *self.rows))
            with saving(self._path):
                make_folder(self._path.parent)
                write_atomic(self._path, lines.encode())
        self._repeated += 1


def _lines(path: Path) -> list[bytes]:
    try:
        return read_plain(path).splitlines()
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; move it away to start again") from error


def _is_step(row: Mapping[str, Any]) -> bool:
    texts = all(isinstance(row.get(name), str) for name in ("stage", "arch", "decision"))
    score = row.get("score", "")
    scored = score is None or (type(score) in (int, float) and 0 <= score <= 1)
    figures = all(type(row.get(name, 0.0)) in (int, float, bool) for name in _FIGURES)
    return texts and scored and figures and type(row.get("epochs")) is int
