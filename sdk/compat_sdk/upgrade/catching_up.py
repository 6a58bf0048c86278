"""The last rows: added while all others were transformed, and transformed while writers wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery.files import new_files
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.missing_side import MissingSide
from compat_sdk.upgrade.freeze import freeze, sweep_sources
from compat_sdk.upgrade.manifest import Manifest, write_manifest
from compat_sdk.upgrade.opener import TransformOpener
from compat_sdk.upgrade.run import failure
from compat_sdk.upgrade.shard import job_for, transform_shard


def catch_up(
    folder: Path,
    manifest: Manifest,
    current: Snapshot,
    wanted: Sequence[NDArray[np.bool_]],
    opener: TransformOpener,
    side: Snapshot | None,
    missing_side: MissingSide = "refuse",
) -> Manifest:
    """Freeze and transform a few rows in this process; the gallery's write lock and the upgrade's must be held.

    Args:
        folder: The upgrade's.
        manifest: As it is.
        current: The gallery.
        wanted: For each segment of ``current`` bool ``[rows]``: which rows.
        opener: The transform of the upgrade.
        side: Gallery with the side-information, if the transform takes any.
        missing_side: Whether rows without side-information are refused, or take zeros.

    Returns:
        The manifest with these rows as further sources, all of their shards done.

    Raises:
        DataError: Rows have no side-information; the message names them.
        VectorError: The transform gave vectors that no index may see; the message names the ids.
        CompatError: A shard could not be made.
        OSError: The disk is full, or the folder not writable.
    """
    before = len(manifest.shards)
    with new_files():  # the upgrade keeps them, whatever becomes of the change of the gallery
        sweep_sources(folder, manifest)
        manifest = freeze(folder, manifest, current, wanted, side, missing_side)
        write_manifest(folder, manifest)
        for shard in manifest.shards[before:]:
            outcome = transform_shard(job_for(folder, manifest, shard, opener))
            if outcome.state == "failed":
                raise failure(folder, manifest, outcome)
    return manifest
