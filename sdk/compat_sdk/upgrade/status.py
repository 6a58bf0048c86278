"""How far an upgrade is: what a person who comes back to it asks first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.upgrade.freeze import new_rows
from compat_sdk.upgrade.manifest import BEFORE, FOLDER, read_manifest
from compat_sdk.upgrade.shard import read_record
from compat_sdk.upgrade.verified import digest_of

Stage = Literal["none", "running", "transformed", "verified", "cut over"]


@dataclass(frozen=True)
class Status:
    """Where a gallery's upgrade stands; no digest was compared for this.

    Attributes:
        stage: ``"none"``; ``"running"``, shards or rows are to be transformed; ``"transformed"``; ``"verified"``, with
            the new model's vectors and of these bytes; or ``"cut over"``.
        space: The gallery's present space.
        leads_to: The space that the upgrade leads to; None where there is no upgrade.
        transform: What identifies the transform, and how it is run; empty where there is no upgrade.
        rows: Rows of the gallery.
        transformed: Rows of shards that are done, those of rows removed since included.
        added: Rows of the gallery that the upgrade does not know yet; those added since where it is cut over.
        shards: Shards in all.
        done: Shards that are done.
        old_rows: Rows of the kept old gallery, in ``upgrade/before``; None where there is none.
        next: The step that comes next, as a command; empty where there is none.
    """

    stage: Stage
    space: str
    leads_to: str | None
    transform: Mapping[str, str]
    rows: int
    transformed: int
    added: int
    shards: int
    done: int
    old_rows: int | None
    next: str


def status(path: str | Path) -> Status:
    """Say how far the upgrade of a gallery is; nothing is written, and another process may be at it.

    Raises:
        GalleryError: There is no gallery, or its files or those of the upgrade are damaged.
    """
    gallery = load_snapshot(Path(path), False, names=False)
    folder, state = gallery.folder / FOLDER, gallery.state
    manifest = read_manifest(folder)
    if manifest is None:
        return Status("none", state.space, None, {}, len(gallery), 0, 0, 0, 0, None, "upgrade plan")
    records = [(shard, read_record(folder, shard, manifest.transform)) for shard in manifest.shards]
    done = [(shard, record) for shard, record in records if record is not None]
    transformed = sum(shard.rows for shard, _ in done)
    cut_over = state.space == manifest.spaces.space
    stage: Stage
    if cut_over:
        kept = load_snapshot(folder / BEFORE, False, names=False, held=False) if (folder / BEFORE).exists() else None
        old_rows, added = None if kept is None else len(kept), max(0, len(gallery) - manifest.rows)
        stage, step = "cut over", "upgrade rollback, or upgrade discard --old"
    else:
        old_rows = None
        added = sum(int(np.count_nonzero(mask)) for mask in new_rows(folder, manifest, gallery))
        verified = manifest.verified
        is_verified = verified is not None and verified.measured and len(done) == verified.shards
        if added or len(done) < len(records):
            stage, step = "running", "upgrade run"
        elif is_verified and verified is not None and digest_of(manifest, done) == verified.digest:
            stage, step = "verified", "upgrade cutover"
        else:
            stage, step = "transformed", "upgrade verify"
    return Status(
        stage=stage,
        space=state.space,
        leads_to=manifest.spaces.space,
        transform=manifest.transform,
        rows=len(gallery),
        transformed=transformed,
        added=added,
        shards=len(records),
        done=len(done),
        old_rows=old_rows,
        next=step,
    )
