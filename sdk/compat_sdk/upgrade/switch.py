"""The atomic step into the new space.

It is one replacement of gallery.json under the gallery's write lock. Whatever is deleted afterwards has a second name
in the upgrade's folder, so that the step back, `compat_sdk.upgrade.rolling_back`, finds its files again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, StateError
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.store import read_state, write_state
from compat_sdk.gallery.writer import writing
from compat_sdk.missing_side import MissingSide
from compat_sdk.progress import Progress
from compat_sdk.upgrade.assembly import assemble, finished, keep_state, kept
from compat_sdk.upgrade.catching_up import catch_up
from compat_sdk.upgrade.manifest import AFTER, BEFORE, FOLDER, SOURCES, require_manifest, write_manifest
from compat_sdk.upgrade.mapping import map_local
from compat_sdk.upgrade.opener import OfSide, TransformOpener, turned
from compat_sdk.upgrade.prepare import WAIT_S, open_side, prepare, upgrading
from compat_sdk.upgrade.rows import find_rows, selected_ids, unknown
from compat_sdk.upgrade.run import transform_missing
from compat_sdk.upgrade.shard import opened
from compat_sdk.upgrade.verified import extended, require_verified

_MOST_ADDED = 1000
"""Rows that a cutover transforms at most while writers wait."""
_PASSES = 10


@dataclass(frozen=True)
class Cutover:
    """A gallery that was cut over.

    Attributes:
        space: Its new space.
        rows: Its rows.
        left_out: Rows that were removed since their shard was made.
        caught_up: Rows of these that were transformed while writers waited.
        paused_s: Seconds for which writers waited.
    """

    space: str
    rows: int
    left_out: int
    caught_up: int = 0
    paused_s: float = field(default=0.0, compare=False)


def cutover(
    path: str | Path,
    opener: TransformOpener | None = None,
    *,
    side: str | Path | None = None,
    missing_side: MissingSide = "refuse",
    most_added: int = _MOST_ADDED,
    unverified: bool = False,
    workers: int | None = None,
    timeout: float = WAIT_S,
    progress: Progress | None = None,
) -> Cutover:
    """Put the transformed rows in the place of the old ones, in one step.

    Ids, labels and their order stay; an index does not, build it again. Rows removed since the run are left out.
    Readers that opened the gallery before go on in the old space. The old gallery is kept for `rollback`, as a
    gallery of its own in ``upgrade/before``.

    With the transform, rows that were added since the run are transformed first, as `run` does it. The last of them,
    added meanwhile, are transformed while writers wait.

    Args:
        path: The gallery.
        opener: The transform of the run; without it rows added since refuse the cutover.
        side: Gallery with the side-information, if the transform takes any.
        missing_side: As for `run`.
        most_added: Rows that may be transformed while writers wait.
        unverified: Do without a verification of these very bytes, see `compat_sdk.upgrade.verify`.
        workers: As for `run`.
        timeout: Seconds to wait while others write, first come first served.
        progress: Called with the stage, rows done, rows in all, and figures.

    Raises:
        StateError: No upgrade, shards or rows that are still to be transformed, a gallery cut over already, or other
            bytes than were verified.
        ConfigError: Another transform than that of the run, or ``side`` without a transform.
        GalleryError: A shard or the gallery is damaged.
        GalleryLockedError: Another process is writing or upgrading this gallery.
        CompatError: The disk is full or the folder cannot be written; the gallery is as it was.
    """
    gallery = Path(path)
    read_state(gallery)
    if opener is None and side is not None:
        raise ConfigError(f"found side-information {side}, but no transform that reads it; name the transform too")
    transform = None if opener is None else opened(opener)
    with upgrading(gallery):
        folder = gallery / FOLDER
        manifest = require_manifest(gallery)
        if read_state(gallery).space == manifest.spaces.space:
            raise StateError(f"{gallery} has been cut over to space {manifest.spaces.space} already")
        if opener is not None and turned(manifest.transform):
            opener = OfSide(opener)
            transform = opened(opener)
        records = finished(folder, manifest)
        if not unverified:
            require_verified(gallery, manifest, records)
        if opener is not None and transform is not None:
            for _ in range(_PASSES):  # each has fewer rows to do than were added during the one before
                manifest, added = prepare(gallery, opener, transform, side, None, None, missing_side)
                if not added:
                    break
                transform_missing(folder, manifest, added, opener, map_local, workers, progress, first=len(records))
                records += finished(folder, manifest, len(records))
                if not unverified:
                    manifest = extended(manifest, records)
                    write_manifest(folder, manifest)
                if added <= most_added:
                    break
        with writing(gallery, load_snapshot(gallery, False, names=False, held=False), False, timeout) as current:
            began, caught_up = time.perf_counter(), 0
            found = find_rows(current, folder / SOURCES, manifest.segments, manifest.spaces.old_dim)
            missing = unknown(found)
            if added := sum(int(np.count_nonzero(mask)) for mask in missing):
                if opener is None or transform is None or added > most_added:
                    raise _too_many(gallery, current, missing, added, None if opener is None else most_added)
                if progress is not None:
                    progress("catch up while writers wait", 0, added, {})
                side_rows = open_side(transform, side)  # as it is now: it has the partners of the last rows
                manifest = catch_up(folder, manifest, current, missing, opener, side_rows, missing_side)
                records, caught_up = records + finished(folder, manifest, len(records)), added
                if not unverified:
                    manifest = extended(manifest, records)
                    write_manifest(folder, manifest)
                found = find_rows(current, folder / SOURCES, manifest.segments, manifest.spaces.old_dim)
            keep = kept(found, manifest.rows)
            state = replace(
                current.state,
                space=manifest.spaces.space,
                dim=manifest.spaces.dim,
                model=manifest.model,
                generation=current.state.generation + 1,
                content=current.state.content + 1,
                segments=tuple(assemble(current, folder, manifest, records, keep)),
                index=None,
            )
            keep_state(folder / BEFORE, gallery, current.state)
            keep_state(folder / AFTER, gallery, state)
            write_state(gallery, state, current.state)
            paused = time.perf_counter() - began
        return Cutover(state.space, len(current), manifest.rows - len(current), caught_up, paused)


def _too_many(
    gallery: Path, current: Snapshot, missing: Sequence[NDArray[np.bool_]], added: int, most: int | None
) -> StateError:
    example = next(selected_ids(current, missing))
    if most is None:
        return StateError(
            f"{added} of {len(current)} rows were added since the last run, such as {example}; run `compat-sdk upgrade "
            f"run` again, it transforms these alone, or name the transform (--transform)"
        )
    return StateError(
        f"{added} rows were added to {gallery} while the ones before were transformed, such as {example}; expected at "
        f"most {most} to be transformed while writers wait: try again, or allow more (--most-added)"
    )
