"""The record of the pictures that a run is made from: `data.json`, beside the model or its resume points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import read_json
from compat_sdk.files.seal import sealed_json, unsealed
from compat_train.data.origin import Origin

_RECORD = "data.json"

_FORMAT, _VERSION = "compat-sdk-run-data", 2  # version 1 has no digest of its own


def write_data_record(folder: Path, origin: Origin) -> None:
    """Notes what a run is made from, at its beginning. Every picture file is read once.

    Raises:
        OSError: The folder cannot be written.
    """
    make_folder(folder)
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "images": origin.images,
        "classes": origin.classes,
        "stamps": origin.stamps,
        "sha256": origin.content,
    }
    write_atomic(folder / _RECORD, sealed_json(record))


def require_same_data(folder: Path, origin: Origin) -> None:
    """Refuses what is finished or begun in a folder where it is of other pictures or labels than those of now.

    Picture files are read only where a size or a time of change is another one. A run of a version before 0.8 has no
    record, and is taken as it is.

    Raises:
        TrainingError: The pictures are others.
        CorruptFileError: The record is damaged.
    """
    path = folder / _RECORD
    if not os.path.lexists(path):
        return
    record = _read(path)
    if record.get("stamps") == origin.stamps or record["sha256"] == origin.content:
        return
    before, now = (record.get("images"), record.get("classes")), (origin.images, origin.classes)
    counts = f"{before[0]} images of {before[1]} classes then, {now[0]} of {now[1]} now"
    raise TrainingError(
        f"what is in {folder} was made from other data ({counts}"
        f"{'; files or labels changed' if before == now else ''}); train into another folder, or delete this one"
    )


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path)
    version = record.get("version")
    if record.get("format") != _FORMAT or version not in (1, _VERSION) or not isinstance(record.get("sha256"), str):
        raise CorruptFileError(f"{path} is no {_FORMAT} version {_VERSION}; train into another folder, or delete it")
    return unsealed(record, str(path), required=version != 1)
