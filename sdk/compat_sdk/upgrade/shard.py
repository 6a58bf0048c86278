"""One shard: read, transform, check, normalise, write, record. The one function that every engine maps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError, CorruptFileError, GalleryError, VectorError
from compat_sdk.files.atomic import sync_folder, write_atomic
from compat_sdk.files.documents import canonical_json
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import parse_sealed, sealed_json
from compat_sdk.gallery.files import Dtype, StoredFile, problem_with
from compat_sdk.gallery.vectors import write_vectors
from compat_sdk.space import TransformSpaces
from compat_sdk.unit import check_rows, unit_rows
from compat_sdk.upgrade.freeze import open_pairs
from compat_sdk.upgrade.manifest import SHARDS, SIDE, SOURCES, Manifest, Source, stored_file
from compat_sdk.upgrade.opener import Transformer, TransformOpener
from compat_sdk.upgrade.rows import stored_rows
from compat_sdk.upgrade.sharding import Shard


@dataclass(frozen=True)
class Record:
    """A finished shard: its rows, the file that holds it, and SHA-256s of what it was made of and made by."""

    rows: int
    inputs: str
    transform: str
    output: StoredFile


@dataclass(frozen=True)
class Job:
    """All that a worker needs for one shard; it opens the files and the transform itself.

    Attributes:
        folder: The upgrade's, the same path on every worker.
        rows_per_second: The most that this shard may take, so that a search beside it stays fast; None for no bound.
    """

    folder: str
    shard: Shard
    source: Source
    spaces: TransformSpaces
    dtype: Dtype
    block_rows: int
    opener: TransformOpener
    rows_per_second: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Attributes:
        state: ``"done"`` now, ``"kept"`` from an earlier run, or ``"failed"``.
        message: Why it failed.
        bad_rows: Rows of its source that the transform gave no usable vector for.
        seconds: How long it took.
    """

    shard: Shard
    state: Literal["done", "kept", "failed"]
    message: str = ""
    bad_rows: tuple[int, ...] = ()
    seconds: float = 0.0


def job_for(
    folder: Path, manifest: Manifest, shard: Shard, opener: TransformOpener, rows_per_second: float | None = None
) -> Job:
    """Return the job of one shard of an upgrade."""
    place, source = str(folder.absolute()), manifest.sources[shard.source]
    return Job(place, shard, source, manifest.spaces, manifest.dtype, manifest.block_rows, opener, rows_per_second)


def transform_shard(job: Job) -> Outcome:
    """Write one shard and its record, unless both are there and intact.

    The vectors go to a file of a new name and reach the disk before the record names it, so a worker that dies
    leaves nothing that counts, and two that write the same shard leave one of two equal results.
    """
    folder, began = Path(job.folder), time.perf_counter()
    record = read_record(folder, job.shard, job.opener.identity)
    if record is not None and problem_with(folder / SHARDS, record.output) is None:
        return Outcome(job.shard, "kept")
    digest = hashlib.sha256()
    try:
        blocks = _transformed(job, digest)
        output = write_vectors(folder / SHARDS, job.shard.number, blocks, (job.shard.rows, job.spaces.dim), job.dtype)
        sync_folder(folder / SHARDS)
        made_by = _identity_digest(job.opener.identity)
        content = asdict(Record(job.shard.rows, digest.hexdigest(), made_by, output))
        write_atomic(record_path(folder, job.shard), sealed_json(content))
    except VectorError as error:
        return Outcome(job.shard, "failed", str(error), error.rows)
    except CompatError as error:
        return Outcome(job.shard, "failed", str(error))
    except OSError as error:
        return Outcome(job.shard, "failed", f"{error.strerror or error}; make room or set permissions")
    return Outcome(job.shard, "done", seconds=time.perf_counter() - began)


def record_path(folder: Path, shard: Shard) -> Path:
    """Where the record of a shard lies."""
    return folder / SHARDS / f"shard-{shard.number:08d}.json"


def read_record(folder: Path, shard: Shard, transform: Mapping[str, str]) -> Record | None:
    """Return the record of a finished shard.

    None where there is none, a damaged one, or one that another transform than ``transform``, an identity, has left
    (a worker can outlive its run): the shard is then made again.
    """
    path = record_path(folder, shard)
    try:
        value: dict[str, Any] = dict(parse_sealed(read_plain(path), str(path)))
        record = Record(int(value["rows"]), str(value["inputs"]), str(value["transform"]), stored_file(value["output"]))
    except OSError as error:
        raise_if_refused(path, error)
        return None
    except (CorruptFileError, KeyError, TypeError, ValueError):
        return None
    fits = record.rows == shard.rows and record.transform == _identity_digest(transform)
    return record if fits else None


def input_blocks(
    job: Job, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32] | None]]:
    """Yield what the transform is given, block by block.

    Args:
        job: Which shard.
        rows: Rows of the source; all of the shard's if None.

    Yields:
        Position of the block, old vectors ``[n, old_dim]`` and side-information ``[n, side_dim]``, if any.

    Raises:
        GalleryError: A frozen file is missing or of another size.
    """
    folder, segment, side = Path(job.folder), job.source.segment, job.source.side
    old = stored_rows(folder / SOURCES, [segment], job.spaces.old_dim, job.dtype)
    if side is not None:
        side_rows = stored_rows(folder / SIDE, side.segments, job.spaces.side_dim or 0, side.dtype)
        pairs = open_pairs(folder, side, segment.rows)
    wanted = np.arange(job.shard.start, job.shard.stop) if rows is None else rows
    for start in range(0, len(wanted), job.block_rows):
        block = wanted[start : start + job.block_rows]
        if side is None:
            yield start, old.take(block), None
            continue
        partners = pairs[block]
        if partners.min() < (-1 if side.missing else 0) or partners.max() >= len(side_rows):
            raise GalleryError(
                f"{side.pairs.name} pairs rows with side-information outside rows 0 to {len(side_rows) - 1}; it is "
                f"damaged: discard the upgrade and run it again"
            )
        has = partners >= 0
        if has.all():
            yield start, old.take(block), side_rows.take(partners)
        else:
            filled = np.zeros((len(block), job.spaces.side_dim or 0), np.float32)
            filled[has] = side_rows.take(partners[has])
            yield start, old.take(block), filled


def input_digest(job: Job) -> str:
    """Return the SHA-256 of what the shard is made of."""
    digest = hashlib.sha256()
    for _, old, side in input_blocks(job):
        _update(digest, old, side)
    return digest.hexdigest()


def transformed_rows(
    transform: Transformer, old: NDArray[np.float32], side: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Transform a block, and return rows of unit norm.

    Raises:
        VectorError: NaN, infinity, a length that is not 1, or another shape; ``rows`` are the positions.
    """
    found = transform.apply(old, side)
    shape = (len(old), transform.spaces.dim)
    if found.dtype != np.float32 or found.shape != shape:
        raise VectorError(
            f"the transform gave {found.dtype} {list(found.shape)}, expected float32 {list(shape)}; "
            f"its bundle does not fit its graph"
        )
    what, advice = "rows of what the transform gave", "run the bundle's self-test, and check these rows"
    check_rows(found, what, advice)
    return unit_rows(found, what, advice)


def _transformed(job: Job, digest: Any) -> Iterator[NDArray[np.float32]]:
    transform, began = opened(job.opener), time.perf_counter()
    for start, old, side in input_blocks(job):
        _update(digest, old, side)
        if job.rows_per_second is not None:
            time.sleep(max(0.0, began + (start + len(old)) / job.rows_per_second - time.perf_counter()))
        try:
            yield transformed_rows(transform, old, side)
        except VectorError as error:
            raise VectorError(str(error), [job.shard.start + start + row for row in error.rows]) from error


def _identity_digest(transform: Mapping[str, str]) -> str:
    return hashlib.sha256(canonical_json(dict(transform))).hexdigest()


def _update(digest: Any, old: NDArray[np.float32], side: NDArray[np.float32] | None) -> None:
    for rows in (old, side):
        if rows is not None:
            digest.update(np.ascontiguousarray(rows).data.cast("B"))


@lru_cache(maxsize=1)
def opened(opener: TransformOpener) -> Transformer:
    """Open a transform once per process, however many shards it works on."""
    return opener()
