"""Vectors that are computed block by block into a file, which outlives the process: what is there is not made again.

    NAME.vectors    float32, little-endian, in the order of the array
    NAME.json       the shape, and the SHA-256 of each block that is finished; sealed by its own digest

A process that is killed loses the block that it was at. A block whose bytes are not those of its digest is made again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.documents import read_json
from compat_sdk.files.reserve import reserve
from compat_sdk.files.seal import sealed_json, unsealed
from compat_train.parallel.group import leader_first
from compat_train.runs.run_files import alone

LOCK = "vectors.lock"
"""Held by who computes vectors in a folder."""
_BLOCK = 512  # rows
_FORMAT, _VERSION = "compat-sdk-kept-vectors", 1
_TYPE = np.dtype("<f4")

Compute = Callable[[int, int], NDArray[np.float32]]
"""The vectors ``[end - start, dim]`` of the rows from ``start`` to ``end``."""


def kept_vectors(
    path: Path | None, rows: int, dim: int, compute: Compute, done: Callable[[int], None] = lambda _: None
) -> NDArray[np.float32]:
    """All vectors, computed as far as they are not there.

    Args:
        path: File of the vectors, with the suffix ``.vectors``; its folder is made. Its name must say everything that
            decides them. None keeps them in memory alone.
        rows: How many.
        dim: Numbers of each.
        compute: Makes some of them.
        done: Called with the number of rows that are there, after each block that was computed.

    Returns:
        float32 ``[rows, dim]``, mapped from the file where there is one, and read-only then.

    Raises:
        TrainingError: Another process computes vectors in the folder.
        OSError: The folder cannot be written, or the disk is full.
    """
    if path is None or not rows * dim:
        found = np.empty((rows, dim), np.float32)
        for start in range(0, rows, _BLOCK):
            end = min(start + _BLOCK, rows)
            found[start:end] = compute(start, end)
            done(end)
        return found
    with leader_first(path):
        if not all(_sound(path, rows, dim)):
            with alone(path.with_name(LOCK), f"computing vectors in {path.parent}"):
                _complete(path, rows, dim, compute, done)
    return np.memmap(path, _TYPE, "r", shape=(rows, dim))


def _complete(path: Path, rows: int, dim: int, compute: Compute, done: Callable[[int], None]) -> None:
    sound = _sound(path, rows, dim)  # again: another process may have been at it
    digests = _digests(path, rows, dim) if any(sound) else [""] * len(sound)
    if not any(sound):
        path.unlink(missing_ok=True)
        reserve(path, math.prod((rows, dim, _TYPE.itemsize)))
    mapped = np.memmap(path, _TYPE, "r+", shape=(rows, dim))
    for number, is_sound in enumerate(sound):
        if is_sound:
            continue
        start, end = number * _BLOCK, min((number + 1) * _BLOCK, rows)
        mapped[start:end] = compute(start, end)
        mapped.flush()
        digests[number] = _digest(mapped[start:end])
        record = {"format": _FORMAT, "version": _VERSION, "rows": rows, "dim": dim, "block": _BLOCK, "blocks": digests}
        write_atomic(path.with_suffix(".json"), sealed_json(record))
        done(end)


def _sound(path: Path, rows: int, dim: int) -> list[bool]:
    """Whether each block is in the file as its digest says."""
    digests = _digests(path, rows, dim)
    try:
        mapped = np.memmap(path, _TYPE, "r", shape=(rows, dim))
        if path.stat().st_size != mapped.nbytes:
            return [False] * len(digests)
    except (OSError, ValueError):  # absent, or shorter
        return [False] * len(digests)
    return [
        bool(digest) and digest == _digest(mapped[number * _BLOCK : (number + 1) * _BLOCK])
        for number, digest in enumerate(digests)
    ]


def _digests(path: Path, rows: int, dim: int) -> list[str]:
    """SHA-256 of each block by the record; empty where there is none. A record of anything else counts for nothing."""
    count = -(-rows // _BLOCK)
    record: dict[str, Any] = {}
    with suppress(CompatError, OSError):
        record = unsealed(read_json(path.with_suffix(".json")), str(path))
    wanted = {"format": _FORMAT, "version": _VERSION, "rows": rows, "dim": dim, "block": _BLOCK}
    blocks = record.get("blocks")
    if {name: record.get(name) for name in wanted} != wanted or not isinstance(blocks, list) or len(blocks) != count:
        return [""] * count
    return [block if isinstance(block, str) else "" for block in blocks]


def _digest(block: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(block).data).hexdigest()
