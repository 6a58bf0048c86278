"""The points that an interrupted training goes on from, in the folder ``state`` of its RUN."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors
from torch import Tensor

from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.digests import file_problem
from compat_sdk.files.documents import parse_json
from compat_sdk.files.plain import read_plain
from compat_sdk.files.seal import sealed_json, unsealed
from compat_sdk.outputs import delete_own
from compat_sdk.shown import shortened
from compat_train.runs.layout import STATE
from compat_train.runs.run_files import on_cpu, read_tensors
from compat_train.runs.saving import saving


class ResumePoints:
    """The last two resume points of a run: tensors in safetensors, the step and digest in JSON beside them."""

    def __init__(self, run: Path, keep: int = 2) -> None:
        """Uses ``run/state``, which is made on the first save."""
        self._folder = run / "state"
        self._keep = keep

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Writes one resume point; the older ones beyond the last two are removed afterwards.

        Raises:
            TrainingError: The disk is full, or the folder cannot be written; the older ones stay.
        """
        data = save_tensors(on_cpu(tensors))
        stem = f"step-{step:09d}"
        record = {
            "step": step,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "facts": dict(facts),
        }
        with saving(self._folder):
            make_folder(self._folder)
            write_atomic(self._folder / f"{stem}.safetensors", data)
            write_atomic(self._folder / f"{stem}.json", sealed_json(record))
        for old in sorted(self._folder.glob("step-*.json"))[: -self._keep]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def newest(self) -> tuple[int, dict[str, Tensor], dict[str, Any], list[str]] | None:
        """The newest undamaged resume point: step, tensors, facts, and what was wrong with newer ones.

        Raises:
            TrainingError: There are resume points and every one of them is damaged.
        """
        damaged: list[str] = []
        for manifest in sorted(self._folder.glob("step-*.json"), reverse=True):
            weights = manifest.with_suffix(".safetensors")
            try:
                found = parse_json(read_plain(manifest), str(manifest))
                record: Any = unsealed(found, str(manifest), required=False)
                if type(record["step"]) is not int or not isinstance(record["facts"], dict):
                    raise CorruptFileError(f"{manifest} is no resume point")
                if problem := file_problem(weights, record):
                    raise CorruptFileError(f"{weights} {problem}")
                return (
                    record["step"],
                    read_tensors(weights.read_bytes(), str(weights)),
                    record["facts"],
                    damaged,
                )
            except (CorruptFileError, KeyError, ValueError, TypeError) as error:
                damaged.append(shortened(str(error), 200))
        if damaged:
            raise TrainingError(
                f"every resume point in {self._folder} is damaged ({'; '.join(damaged)}); delete the folder to "
                f"start again"
            )
        return None

    def clear(self) -> None:
        """Deletes all resume points, and nothing else, once the finished model is saved."""
        delete_own(self._folder, STATE)
