"""The two files of a RUN folder: `model.json`, which says what the model is, and `model.safetensors`, its weights.

The record is sealed: it holds a digest of itself and one of the weights. Releases up to 0.7 wrote version 1, without
the first. Every kind of model that training leaves behind is stored this way; the ``role`` in the record tells them
apart.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.digests import file_problem
from compat_sdk.files.documents import read_json
from compat_sdk.files.lock import open_locked
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import sealed_json, unsealed
from compat_sdk.kinds import instead_of, kind_of
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import covers_all
from compat_train.runs.saving import saving
from compat_train.runs.tensors_header import check_header

WEIGHTS, RECORD = "model.safetensors", "model.json"

_POLL_S = 0.1
_FORMAT, _VERSION = "compat-sdk-run", 2
_KINDS = {
    "gallery": "a gallery model",
    "query": "a query model",
    "side-info": "a side-information encoder",
    "transform": "a transform of embeddings",
}


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as files can take them: without gradient, on the CPU, contiguous."""
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


@contextmanager
def alone(lock: Path, work: str, *, waits: bool = False) -> Iterator[None]:
    """Keeps other processes from the same work; the lock ends with this process, however it ends.

    Args:
        lock: File to hold, made if need be with its folder.
        work: What is done, for the error, such as ``training in RUN``.
        waits: Wait until another process lets the lock go, and warn of it once, in place of the error.

    Raises:
        TrainingError: Another process holds the lock, or it is no file.
        SystemRefusedError: The system refused to write it.
        OSError: The folder cannot be made.
    """
    make_folder(lock.parent)
    try:
        told = False
        while (file := _held(lock, waits)) is None:
            if not told:
                warnings.warn(f"another process is {work}; waiting until it is done", stacklevel=3)
                told = True
            time.sleep(_POLL_S)
    except BlockingIOError as error:
        raise TrainingError(f"another process is {work}; wait until it is done, or write to another folder") from error
    except OSError as error:
        raise_if_refused(lock, error, "write")
        raise TrainingError(f"cannot hold {lock} ({error.strerror or error}); move it away") from error
    with file:
        yield


def _held(lock: Path, waits: bool) -> BinaryIO | None:
    try:
        return open_locked(lock)
    except BlockingIOError:
        if waits:
            return None
        raise


def write_run(run: Path, model: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes the weights, then the record that makes them count, each atomically.

    Args:
        run: An existing folder.
        model: What the model is, as JSON values; ``role`` says which kind.
        tensors: Weights by name.

    Raises:
        TrainingError: The disk is full, or the folder is missing or cannot be written.
    """
    weights = save_tensors(on_cpu(tensors))
    digest = {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    record = {"format": _FORMAT, "version": _VERSION, "weights": digest, "model": dict(model)}
    with saving(run):
        write_atomic(run / WEIGHTS, weights)
        write_atomic(run / RECORD, sealed_json(record))


def read_role(run: str | Path) -> str:
    """Role of the model in a finished RUN folder: gallery, query, side-info or transform. Reads no weights.

    Raises:
        TrainingError: The folder has no finished model.
        CorruptFileError: The record is damaged or of a newer version.
    """
    return str(_model(Path(run), _record(Path(run)))["role"])


def read_run(run: Path, roles: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Record and weights of a finished RUN folder; the digest is checked before the weights are parsed.

    Args:
        run: RUN folder.
        roles: Roles that the caller can use.

    Returns:
        What `write_run` was given.

    Raises:
        TrainingError: The folder has no finished model, or one of another role.
        CorruptFileError: A file is damaged or of a newer version.
    """
    record = _record(run)
    model = _model(run, record)
    if model["role"] not in roles:
        wanted = " or ".join(_KINDS[role] for role in roles)
        raise TrainingError(
            f"{run} is {_KINDS.get(model['role'], 'something else')} (role {shortened(model['role'])}); "
            f"expected {wanted}"
        )
    if model["role"] == "transform" and record["version"] != 1 and "identity" not in model:
        raise CorruptFileError(
            f"{run / RECORD} does not name its transform, as every record of its version does: the name was taken out; "
            f"restore it from a copy or train again"
        )
    digest: Any = record.get("weights")
    known = isinstance(digest, dict) and {"bytes", "sha256"} <= digest.keys()
    problem = file_problem(run / WEIGHTS, digest) if known else "has no record"
    if problem is not None:
        raise CorruptFileError(f"{run / WEIGHTS} {problem}; train again or restore it from a copy")
    return model, read_tensors((run / WEIGHTS).read_bytes(), str(run / WEIGHTS))


def read_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        CorruptFileError: The bytes are no safetensors file.
    """
    check_header(data, name)
    try:
        return load_tensors(data)
    except (SafetensorError, ValueError) as error:
        said = shortened(str(error))
        raise CorruptFileError(f"{name} is not a safetensors file ({said}); restore it from a copy") from error


def _record(run: Path) -> dict[str, Any]:
    path = run / RECORD
    if not path.is_file():
        if kind_of(run) in ("bundle", "gallery", "dataset"):
            raise TrainingError(str(instead_of("RUN", run)))
        unfinished, searched = (run / "state").is_dir(), run / "network" / RECORD
        raise TrainingError(
            f"{run} holds no {RECORD}; "
            + (
                "its training has not finished: run the same train command again to resume it"
                if unfinished
                else f"the network that was found is in {searched.parent}"
                if searched.is_file()
                else "expected a RUN folder written by `compat-sdk train`"
            )
        )
    found = read_json(path)
    version = found.get("version")
    if found.get("format") != _FORMAT or type(version) is not int or version not in (1, _VERSION):
        raise CorruptFileError(
            f"{path} is {shown_value(found.get('format'))} version {shown_value(version)}; expected {_FORMAT!r} "
            f"version 1 or {_VERSION}"
        )
    if version == 1:
        _require_old(path, found)
        return found
    return unsealed(found, str(path))


def _require_old(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a record that says it is of 0.7, and so bears no seal, but names spaces as only later releases do."""
    model = record.get("model")
    named = [] if not isinstance(model, dict) else [model.get(key) for key in ("space", "old_space", "side_space")]
    searches = model.get("searches") if isinstance(model, dict) else None
    named += searches if isinstance(searches, list) else []
    if later := [name for name in named if isinstance(name, str) and covers_all(name)]:
        raise CorruptFileError(
            f"{path} says version 1, but names the space {later[0]} of a later version: it was changed after it was "
            f"written; restore it from a copy"
        )


def _model(run: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    model = record.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("role"), str):
        raise CorruptFileError(f"{run / RECORD} has no model record with a role; restore it from a copy")
    return model
