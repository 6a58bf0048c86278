"""A split's images decoded once, before the first epoch, as the pixels that a model sees.

An epoch that starts on bad data fails hours later; so every image is read here, a damaged one is named, and
what comes out is one array that batches index. Grey arrays of the right size are not even copied.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version

from compat_sdk.arrays import read_array
from compat_sdk.datasets import Split
from compat_sdk.errors import CorruptFileError, DataError, ImageError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.images import Preprocessing, to_pixels
from compat_sdk.images.packed import stamp_text
from compat_sdk.progress import Progress
from compat_sdk.workers import usable_cores
from compat_train.config.checks import check_range
from compat_train.data.mapped_file import write_mapped, writing_images
from compat_train.parallel.group import leader_first

_NAMED = 10
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images.

    Attributes:
        images: uint8 ``[m, size, size, 3]`` RGB; read-only where it is memory-mapped or a view.
        kept: int64 ``[m]``, the split's rows that the images are, ascending.
    """

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]


def decode_split(
    split: Split,
    preprocessing: Preprocessing,
    *,
    threads: int | None = None,
    cache: Path | None = None,
    skip_budget: int = 0,
    progress: Progress | None = None,
) -> Pixels:
    """Returns a split's images as the pixels that a model sees.

    Args:
        split: Paths or an array. An array of ``[size, size]`` or ``[size, size, 3]`` images is not copied.
        preprocessing: Size, crop and resize kernel.
        threads: Threads that decode, at least 1; ``None`` for one per usable core.
        cache: Folder for a memory-mapped copy, made on the first call and reused while ids, files, and
            preprocessing stay the same; ``None`` decodes into memory.
        skip_budget: How many unreadable images may be left out, at least 0. They are named in a warning.
        progress: Called as ``("decode NAME", done, total, {})``.

    Raises:
        DataError: More images than ``skip_budget`` are unreadable; the message names the first ten.
        ConfigError: ``threads`` or ``skip_budget`` is out of its range.
    """
    check_range("skip_budget", skip_budget, 0)
    check_range("threads", 1 if threads is None else threads, 1)
    as_is = _without_decoding(split, preprocessing.size)
    if as_is is not None:
        return Pixels(as_is, np.arange(len(split), dtype=np.int64))
    shape = (len(split), preprocessing.size, preprocessing.size, 3)
    workers = threads or usable_cores()
    if cache is None or len(split) == 0:
        images = np.empty(shape, np.uint8)
        unreadable = _decode_into(images, split, preprocessing, workers, progress)
        kept = _keep(split, unreadable, skip_budget)
        return Pixels(_close_gaps(images, kept), kept)
    path = cache / f"{split.name}-{_key(split, preprocessing)}.pixels"
    path_kept = path.with_suffix(".kept.npy")

    def fill(mapped: NDArray[np.uint8]) -> NDArray[np.int64]:
        kept = _keep(split, _decode_into(mapped, split, preprocessing, workers, progress), skip_budget)
        _close_gaps(mapped, kept)
        rows = io.BytesIO()
        np.save(rows, kept)
        write_atomic(path_kept, rows.getvalue())
        return kept

    with leader_first(path):
        stored = _open_cache(path, path_kept, shape)
        if stored is None:
            with writing_images(cache):
                stored = _open_cache(path, path_kept, shape)  # another training may have made it in the meantime
                if stored is None:
                    kept = write_mapped(path, shape, fill)  # its file comes last: it is there once its images are
                    return Pixels(np.memmap(path, np.uint8, "r", shape=shape)[: len(kept)], kept)
    lost = np.setdiff1d(np.arange(len(split)), stored.kept)
    _keep(split, {int(row): "unreadable when the cache was made" for row in lost}, skip_budget)
    return stored


def _without_decoding(split: Split, size: int) -> NDArray[np.uint8] | None:
    images = split.images
    if not isinstance(images, np.ndarray) or images.shape[1:3] != (size, size):
        return None
    # Three channels of step 0: a grey pixel stands for itself three times and takes no more memory.
    return np.broadcast_to(images[..., None], (*images.shape, 3)) if images.ndim == 3 else images


def _decode_into(
    images: NDArray[np.uint8],
    split: Split,
    preprocessing: Preprocessing,
    threads: int,
    progress: Progress | None,
) -> dict[int, str]:
    """Fills row i with image i; returns row to reason of those that cannot be read."""

    def decode(row: int) -> str | None:
        try:
            images[row] = to_pixels(split.images[row], preprocessing)
        except ImageError as error:
            return error.reason
        return None

    unreadable: dict[int, str] = {}
    with ThreadPoolExecutor(threads, "decode") as pool:
        for start in range(0, len(split), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(split)))
            reasons = zip(rows, pool.map(decode, rows), strict=True)
            unreadable.update({row: reason for row, reason in reasons if reason is not None})
            if progress is not None:
                progress(f"decode {split.name}", rows.stop, len(split), {})
    return unreadable


def _keep(split: Split, unreadable: Mapping[int, str], skip_budget: int) -> NDArray[np.int64]:
    """Returns the readable rows, or raises when too many are missing."""
    if unreadable:
        named = "; ".join(f"{split.ids[row]}: {reason}" for row, reason in list(unreadable.items())[:_NAMED])
        more = f"; and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
        found = f"{len(unreadable)} of {len(split)} images of {split.name} cannot be read ({named}{more})"
        if len(unreadable) > skip_budget or len(unreadable) == len(split):
            allow = ", or allow more by the setting unreadable" if split.name == "train" else ""
            raise DataError(f"{found}; {skip_budget} may be left out: repair or remove them{allow}")
        warnings.warn(f"{found}; they are left out", stacklevel=3)
    return np.setdiff1d(np.arange(len(split), dtype=np.int64), np.fromiter(unreadable, np.int64, len(unreadable)))


def _close_gaps(images: NDArray[np.uint8], kept: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Moves the kept rows to the front, in place, and returns them."""
    for new, old in enumerate(kept.tolist()):
        if new != old:
            images[new] = images[old]
    return images[: len(kept)]


def _open_cache(path: Path, path_kept: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Returns a stored cache, or None when there is none or it is not whole."""
    try:
        kept = read_array(path_kept)
        whole = path.stat().st_size == math.prod(shape) and kept.dtype == np.int64 and len(kept) <= shape[0]
    except (OSError, CorruptFileError):
        return None
    return Pixels(np.memmap(path, np.uint8, "r", shape=shape)[: len(kept)], kept) if whole else None


def _key(split: Split, preprocessing: Preprocessing) -> str:
    """Returns a name that changes with the ids, the images' content or stamp, and the preprocessing."""
    digest = hashlib.sha256(json.dumps([preprocessing.to_json(), pillow_version, split.ids]).encode())
    images = split.images
    if isinstance(images, np.ndarray):
        digest.update(str(images.shape).encode())
        for start in range(0, len(images), _BLOCK):
            digest.update(np.ascontiguousarray(images[start : start + _BLOCK]).data)
    else:
        for path in images:
            try:
                digest.update(stamp_text(path))
            except OSError:
                digest.update(b"missing;")
    return digest.hexdigest()[:24]
