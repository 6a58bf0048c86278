"""What a training chose by itself, and why: `choices.json` in its RUN."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import read_json

_FILE = "choices.json"


@dataclass(frozen=True)
class Choice:
    """One setting that was left to the training.

    Attributes:
        setting: Its name.
        taken: The value it got.
        because: The reason, as the end of a sentence.
    """

    setting: str
    taken: str
    because: str

    def __str__(self) -> str:
        return f"{self.setting} {self.taken}, because {self.because}"


def write_choices(run: Path, choices: Sequence[Choice]) -> None:
    """Notes them in the RUN; no file where nothing was chosen."""
    if choices:
        make_folder(run)
        write_atomic(run / _FILE, json.dumps({"choices": [asdict(choice) for choice in choices]}, indent=2).encode())


def read_choices(run: Path) -> tuple[Choice, ...]:
    """What `write_choices` noted; empty where nothing was.

    Raises:
        CorruptFileError: The file holds something else.
    """
    if not os.path.lexists(run / _FILE):
        return ()
    try:
        rows = read_json(run / _FILE).get("choices")
    except OSError as error:
        raise CorruptFileError(f"cannot read {run / _FILE}: {error.strerror or error}; delete it") from error
    names = {entry.name for entry in fields(Choice)}
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and set(row) == names and all(isinstance(value, str) for value in row.values())
        for row in rows
    ):
        raise CorruptFileError(f"{run / _FILE} holds no choices of a training; delete it")
    return tuple(Choice(**row) for row in rows)
