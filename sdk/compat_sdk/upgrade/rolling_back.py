"""The atomic step back into the old space."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import ne
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import GalleryError, StateError
from compat_sdk.files.atomic import link_or_copy
from compat_sdk.gallery.lock import write_lock
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.store import read_state, write_state
from compat_sdk.gallery.writer import select, writing
from compat_sdk.shown import shown_names
from compat_sdk.upgrade.assembly import kept
from compat_sdk.upgrade.embedding_again import embedded_again
from compat_sdk.upgrade.manifest import AFTER, BACKFILLED, BEFORE, FOLDER, require_manifest
from compat_sdk.upgrade.prepare import WAIT_S, upgrading
from compat_sdk.upgrade.rows import all_rows, find_rows, selected_ids, unknown


@dataclass(frozen=True)
class Rollback:
    """A gallery that was rolled back: its old space, its rows, and the ids of added rows that were dropped."""

    space: str
    rows: int
    dropped: tuple[str, ...]


def rollback(path: str | Path, *, drop_added: bool = False, timeout: float = WAIT_S) -> Rollback:
    """Put the old rows back in their place, in one step.

    Rows removed since the cutover stay removed; without such rows the old gallery is back to the byte, index
    included. Rows that the kept old gallery received since stay in it. The finished shards stay, so that a later
    `cutover` needs a run for newer rows only.

    Args:
        path: The gallery.
        drop_added: Give up rows that were added since the cutover: they have no old vectors.
        timeout: Seconds to wait while others write, first come first served.

    Raises:
        StateError: The gallery has not been cut over, or rows were added since and ``drop_added`` is not set.
        GalleryError: What was kept is damaged.
        GalleryLockedError: Another process is writing or upgrading this gallery.
        CompatError: The disk is full or the folder cannot be written; the gallery is as it was.
    """
    gallery = Path(path)
    read_state(gallery)
    with upgrading(gallery):
        folder = gallery / FOLDER
        manifest = require_manifest(gallery)
        if read_state(gallery).space != manifest.spaces.space:
            raise StateError(f"{gallery} has not been cut over; there is nothing to roll back")
        with write_lock(folder / BEFORE, timeout=timeout):  # it may still receive rows
            before = load_snapshot(folder / BEFORE, True, names=False, held=False)
            after = load_snapshot(folder / AFTER, False, names=False, held=False)
            same = not any(map(ne, *(selected_ids(one, all_rows(one)) for one in (before, after))))
            same = same and len(before) == len(after)
            if not same and len(after) and not set(after.ids) & set(before.ids):
                raise GalleryError(f"{before.folder} and {after.folder} hold other ids; restore them from a copy")
            with writing(gallery, load_snapshot(gallery, False, names=False, held=False), False, timeout) as current:
                found = find_rows(current, folder / AFTER, after.state.segments, manifest.spaces.dim)
                added, keep = list(selected_ids(current, unknown(found))), kept(found, len(after))
                if again := embedded_again(folder, current):  # other vectors of the same images: their old ones hold
                    mine = [id for id in added if id in again and id in after.row_of]
                    keep[[after.row_of[id] for id in mine]] = True
                    added = [id for id in added if id not in set(mine)]
                if not same:
                    added, keep = _with_additions(before, after, added, keep)
                if added and not drop_added:
                    shown = shown_names(added)
                    raise StateError(
                        f"{len(added)} rows were added since the cutover and have no old vectors: {shown}; remove "
                        f"them, or give them up with drop_added (--drop-added)"
                    )
                for file in before.state.files:
                    link_or_copy(folder / BEFORE / file.name, gallery / file.name)
                generation = max(current.state.generation, before.state.generation)
                if keep.all():
                    write_state(gallery, replace(before.state, generation=generation + 1), current.state)
                else:
                    old = replace(before.state, generation=generation)
                    select(Snapshot(gallery, old, before.parts, (before.ids, before.labels)), keep, current.state)
            for name in (BEFORE, AFTER):
                shutil.rmtree(folder / name, ignore_errors=True)
            (folder / BACKFILLED).unlink(missing_ok=True)
        return Rollback(before.state.space, int(keep.sum()), tuple(added))


def _with_additions(
    before: Snapshot, after: Snapshot, added: Sequence[str], keep: NDArray[np.bool_]
) -> tuple[list[str], NDArray[np.bool_]]:
    """Rows that the old gallery received, or lost, after the cutover.

    Args:
        before: The old gallery as it is.
        after: The new gallery as the cutover made it.
        added: Ids of rows that the new gallery received since.
        keep: bool ``[rows of after]``: rows that are still in the new gallery.

    Returns:
        The ids of ``added`` that have no old vector, and bool ``[rows of before]``: rows to go back to.
    """
    known = set(before.ids)
    of_after = after.row_of
    wanted = [id not in of_after or bool(keep[of_after[id]]) for id in before.ids]
    return [id for id in added if id in of_after or id not in known], np.array(wanted, bool)
