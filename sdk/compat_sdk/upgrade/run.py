"""The run: freeze what is new, transform the shards that are missing, and stop without losing any."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, VectorError
from compat_sdk.files.plain import open_to_append
from compat_sdk.gallery.files import require_intact
from compat_sdk.gallery.store import read_state
from compat_sdk.gallery.tables import NameCursor, StoredTable
from compat_sdk.missing_side import MissingSide
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_names
from compat_sdk.upgrade.manifest import FOLDER, SHARDS, SIDE, SOURCES, Manifest
from compat_sdk.upgrade.mapping import Engine, map_local, map_ray
from compat_sdk.upgrade.opener import TransformOpener, facing
from compat_sdk.upgrade.prepare import prepare, upgrading
from compat_sdk.upgrade.shard import Outcome, job_for, opened, read_record, record_path, transform_shard
from compat_sdk.workers import usable_cores

_ROTTEN = "restore the gallery from a copy, or discard the upgrade and run it again"


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        rows: Rows of all shards.
        added: Rows that were new to the upgrade.
        shards: Shards in all.
        transformed: Of these, transformed now; the others were done before and are intact.
        seconds: Wall time of the transformation.
        without_side: Rows of all shards that took zeros, because they have no side-information.
    """

    rows: int
    added: int
    shards: int
    transformed: int
    seconds: float
    without_side: int = 0


def run(
    path: str | Path,
    opener: TransformOpener,
    *,
    side: str | Path | None = None,
    shard_rows: int | None = None,
    block_rows: int | None = None,
    workers: int | None = None,
    ray: bool = False,
    missing_side: MissingSide = "refuse",
    rows_per_second: float | None = None,
    log: str | Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Transform every row of a gallery into shards beside it; the gallery itself does not change.

    Searches, additions and removals go on meanwhile. Run again after an interruption, it does what is missing and
    nothing twice; after additions, it does the added rows.

    Args:
        path: The gallery.
        opener: The transform, see `compat_sdk.upgrade.BundleTransform`.
        side: Gallery with the side-information of the same ids, if the transform takes any.
        shard_rows: Rows per shard, fixed when the upgrade is begun.
        block_rows: Rows that the transform sees at once, fixed likewise.
        workers: Processes; as many as there are cores if None.
        ray: Map the shards with Ray.
        missing_side: ``"zeros"`` gives zeros to the transform for rows without side-information, and counts them.
        rows_per_second: The most that all workers together may transform, so that searches beside them stay fast; None
            for no bound.
        log: File that gets a line of JSON for every shard, as it is done: number, rows, state and seconds.
        progress: Called with the stage, rows done, rows in all, and figures: rows transformed per second.

    Raises:
        ConfigError: The arguments do not fit each other, or an upgrade that was begun with others.
        IncompatibleSpaceError: The transform is for another gallery or other side-information.
        DataError: Rows have no side-information.
        VectorError: The transform gave vectors that no index may see; the message names the ids.
        GalleryError: The gallery, its side-information or the upgrade is damaged.
        GalleryLockedError: Another process is upgrading this gallery.
        CompatError: The disk is full, the folder not writable, or a worker died. Finished shards stay.
    """
    if rows_per_second is not None and not 0 < rows_per_second < math.inf:
        raise ConfigError(f"rows_per_second is {rows_per_second!r}, expected a number above 0")
    gallery = Path(path)
    opener = facing(opener, opened(opener).spaces, read_state(gallery).space)
    transform = opened(opener)
    with upgrading(gallery):
        manifest, added = prepare(gallery, opener, transform, side, shard_rows, block_rows, missing_side)
        engine = map_ray if ray else map_local
        with _shard_log(log) as told:
            pace = None if rows_per_second is None else rows_per_second / _at_once(manifest, workers, ray=ray)
            folder = gallery / FOLDER
            return transform_missing(folder, manifest, added, opener, engine, workers, progress, pace=pace, told=told)


def transform_missing(
    folder: Path,
    manifest: Manifest,
    added: int,
    opener: TransformOpener,
    engine: Engine,
    workers: int | None,
    progress: Progress | None,
    *,
    first: int = 0,
    pace: float | None = None,
    told: Callable[[Outcome], None] | None = None,
) -> RunResult:
    """Transform the shards that are not done; the upgrade's lock must be held.

    Args:
        folder: The upgrade's.
        manifest: What is to be done.
        added: Rows that are new to it.
        opener: The transform.
        engine: What maps over the shards.
        workers: As for `run`.
        progress: As for `run`.
        first: Number of the first shard to look at; the caller knows that those before are done and intact.
        pace: The most rows a second for one worker; None for no bound.
        told: Called with every outcome.

    Raises:
        VectorError: The transform gave vectors that no index may see; the message names the ids.
        GalleryError: Frozen rows are damaged.
        CompatError: The disk is full, the folder not writable, or a worker died. Finished shards stay.
    """
    _sweep_shards(folder, manifest)
    _require_frozen(folder, manifest)
    started = time.perf_counter()
    jobs = [job_for(folder, manifest, shard, opener, pace) for shard in manifest.shards[first:]]
    done = manifest.shards[first].first if jobs else 0
    transformed = fresh = 0
    with closing(engine(transform_shard, jobs, workers)) as outcomes:
        for outcome in outcomes:
            if told is not None:
                told(outcome)
            if outcome.state == "failed":
                raise failure(folder, manifest, outcome)
            done += outcome.shard.rows
            if outcome.state == "done":
                transformed, fresh = transformed + 1, fresh + outcome.shard.rows
            if progress is not None:
                rate = fresh / max(time.perf_counter() - started, 1e-9)
                progress("transform", done, manifest.rows, {"rows/s": rate})
    seconds = time.perf_counter() - started
    return RunResult(manifest.rows, added, len(manifest.shards), transformed, seconds, manifest.without_side)


@contextmanager
def _shard_log(path: str | Path | None) -> Iterator[Callable[[Outcome], None]]:
    """What appends a line of JSON for every outcome to a file; nothing where there is no path.

    Raises:
        ConfigError: The file cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        file = open_to_append(path)
    except CorruptFileError as error:
        raise ConfigError(f"{error}; name another file for the log") from error
    except OSError as error:
        raise ConfigError(f"cannot write the log {path}: {error.strerror or error}; name another file") from error
    with file:

        def tell(outcome: Outcome) -> None:
            shard = outcome.shard
            line = {"shard": shard.number, "first": shard.first, "rows": shard.rows, "state": outcome.state}
            told = {**line, "seconds": round(outcome.seconds, 6), "message": outcome.message}
            file.write(json.dumps(told).encode() + b"\n")
            file.flush()

        yield tell


def _at_once(manifest: Manifest, workers: int | None, *, ray: bool) -> int:
    """Workers that share a bound of rows per second; with Ray as many as are asked for."""
    return max(1, min(workers or (1 if ray else usable_cores()), len(manifest.shards)))


def _require_frozen(folder: Path, manifest: Manifest) -> None:
    """Compare the digests of what the missing shards are made of: a shard of rotten rows has a digest of its own."""
    wanted = {shard.source for shard in manifest.shards if read_record(folder, shard, manifest.transform) is None}
    for source in (manifest.sources[number] for number in sorted(wanted)):
        require_intact(folder / SOURCES, [source.segment.vectors], _ROTTEN)
        if source.side is not None:
            require_intact(folder / SOURCES, [source.side.pairs], _ROTTEN)
    sides = [side for number in wanted if (side := manifest.sources[number].side) is not None]
    files = {segment.vectors.name: segment.vectors for side in sides for segment in side.segments}
    require_intact(folder / SIDE, files.values(), _ROTTEN)


def _sweep_shards(folder: Path, manifest: Manifest) -> None:
    named = set()
    for shard in manifest.shards:
        record = read_record(folder, shard, manifest.transform)
        if record is not None:
            named |= {record_path(folder, shard).name, record.output.name}
    for path in (folder / SHARDS).iterdir():
        if path.name not in named:
            path.unlink(missing_ok=True)


def failure(folder: Path, manifest: Manifest, outcome: Outcome) -> CompatError:
    """The error that says which shard failed, at which ids, and what stays."""
    shard = outcome.shard
    where = f"shard {shard.number} (rows {shard.first} to {shard.first + shard.rows - 1})"
    stays = "the gallery is as it was and shards that are done stay"
    if not outcome.bad_rows:
        return CompatError(f"{where} failed: {outcome.message}; {stays}; then run again")
    names = NameCursor(StoredTable(folder / SOURCES, manifest.sources[shard.source].segment))
    ids = [id for part, _ in names.between(shard.start, shard.stop) for id in part]
    named = [ids[row - shard.start] for row in outcome.bad_rows]
    shown = shown_names(named)
    rows = [shard.first - shard.start + row for row in outcome.bad_rows]
    return VectorError(f"{where} failed at ids {shown}: {outcome.message}; {stays}", rows)
