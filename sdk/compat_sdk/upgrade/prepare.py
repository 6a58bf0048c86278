"""Before the shards: do transform, gallery and side-information fit, is there room, and which rows are new."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError, ConfigError, DataError, IncompatibleSpaceError, StateError
from compat_sdk.files.atomic import make_folder
from compat_sdk.gallery.lock import write_lock
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.state import STATE_FILE
from compat_sdk.gallery.store import read_state
from compat_sdk.missing_side import MissingSide, require_missing_side
from compat_sdk.outputs import require_own
from compat_sdk.upgrade.freeze import freeze, new_rows, sweep_sources
from compat_sdk.upgrade.manifest import (
    AFTER,
    BEFORE,
    FOLDER,
    LAYOUT,
    LOCK_FILE,
    SHARDS,
    Manifest,
    read_manifest,
    write_manifest,
)
from compat_sdk.upgrade.opener import Transformer, TransformOpener
from compat_sdk.upgrade.room import require_room, room_for
from compat_sdk.upgrade.rows import all_rows
from compat_sdk.upgrade.shard import read_record

WAIT_S = 60.0
"""Seconds for which a cutover or a rollback waits for its turn to write."""
_SHARD_ROWS = 1 << 18
_BLOCK_ROWS = 4096


@contextmanager
def upgrading(gallery: Path) -> Iterator[None]:
    """Hold the lock of a gallery's upgrade, which lets additions go on, and say what a full disk means.

    Raises:
        GalleryLockedError: Another process is upgrading the gallery.
        ConfigError: The upgrade's folder holds something else.
        CompatError: The disk is full or the folder cannot be written.
    """
    with write_lock(gallery, LOCK_FILE, "upgrading"):
        require_own(gallery / FOLDER, LAYOUT, "an upgrade")
        if (gallery / FOLDER).is_symlink():
            raise ConfigError(
                f"{gallery / FOLDER} is a link; an upgrade writes and deletes in the gallery alone: move it"
            )
        try:
            yield
        except OSError as error:
            raise CompatError(
                f"cannot write to gallery {gallery}: {error.strerror or error}; the gallery is as it was and shards "
                f"that are done stay; make room or set permissions, and try again"
            ) from error


def open_side(transform: Transformer, side: str | Path | None) -> Snapshot | None:
    """Open the side-information that a transform takes; its ids are not read yet.

    Raises:
        ConfigError: It takes some and none was given, or the reverse.
        IncompatibleSpaceError: It is in another space.
        GalleryError: It is no gallery, or a damaged one.
    """
    spaces = transform.spaces
    if spaces.side_space is None:
        if side is not None:
            raise ConfigError(f"found side-information {side}, but this transform takes none; leave it out")
        return None
    if side is None:
        raise ConfigError(
            f"found no side-information, but this transform takes it in space {spaces.side_space}; name the "
            f"gallery that holds it (--side)"
        )
    snapshot = load_snapshot(Path(side), False, names=False)
    if snapshot.state.space != spaces.side_space and (Path(side) / FOLDER / BEFORE / STATE_FILE).exists():
        snapshot = load_snapshot(Path(side) / FOLDER / BEFORE, False, names=False)  # it was cut over: its old vectors
    if snapshot.state.space != spaces.side_space or snapshot.state.dim != spaces.side_dim:
        raise _other_space(
            f"side-information {side}",
            snapshot,
            f"space {spaces.side_space} and dimension {spaces.side_dim}",
        )
    return snapshot


def require_old(transform: Transformer, gallery: Snapshot) -> None:
    """Refuse a transform that was made for another gallery.

    Raises:
        IncompatibleSpaceError: The gallery is in another space than the transform takes.
    """
    spaces = transform.spaces
    if gallery.state.space != spaces.old_space or gallery.state.dim != spaces.old_dim:
        raise _other_space(
            f"gallery {gallery.folder}",
            gallery,
            f"space {spaces.old_space} and dimension {spaces.old_dim}",
        )


def new_manifest(
    opener: TransformOpener, transform: Transformer, gallery: Snapshot, shard_rows: int | None, block_rows: int | None
) -> Manifest:
    """Return the manifest of an upgrade that is about to begin, without sources.

    Raises:
        ConfigError: A size is below 1.
        IncompatibleSpaceError: The gallery is in another space than the transform takes.
    """
    require_old(transform, gallery)
    for name, value in (("shard_rows", shard_rows), ("block_rows", block_rows)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} is {value!r}, expected an integer of at least 1")
    before = {"space": gallery.state.space, "model": dict(gallery.state.model)}
    return Manifest(
        transform=dict(opener.identity),
        spaces=transform.spaces,
        model={"name": opener.name, "upgraded_from": before},
        dtype=gallery.state.dtype,
        shard_rows=shard_rows or _SHARD_ROWS,
        block_rows=block_rows or _BLOCK_ROWS,
    )


def prepare(
    gallery: Path,
    opener: TransformOpener,
    transform: Transformer,
    side: str | Path | None,
    shard_rows: int | None,
    block_rows: int | None,
    missing_side: MissingSide = "refuse",
) -> tuple[Manifest, int]:
    """Freeze the rows that are new, and return the manifest and how many they are; the lock must be held.

    Raises:
        ConfigError: A size is below 1, or the upgrade was begun with another transform or other sizes.
        IncompatibleSpaceError: The gallery or the side-information is in another space than the transform takes.
        DataError: Rows have no side-information; the message names them.
        GalleryError: A file of the gallery or of the upgrade is damaged.
        CompatError: The transform, or a gallery that it needs, cannot be read.
        OSError: The disk is full, or the folder is not writable.
    """
    folder = gallery / FOLDER
    require_missing_side(transform.spaces.side_space, missing_side)
    snapshot, side_rows = load_snapshot(gallery, False, names=False), open_side(transform, side)
    manifest = begun(gallery)
    if manifest is None:
        manifest = new_manifest(opener, transform, snapshot, shard_rows, block_rows)
        wanted, is_new = all_rows(snapshot), True
    else:
        require_same(gallery, manifest, opener, snapshot, shard_rows, block_rows)
        require_old(transform, snapshot)
        wanted, is_new = new_rows(folder, manifest, snapshot), False
    added = sum(int(np.count_nonzero(mask)) for mask in wanted)
    require_room(gallery, room_for(manifest, snapshot, wanted, side_rows))
    return _freeze(folder, manifest, snapshot, wanted, side_rows, missing_side, is_new=is_new), added


def begun(gallery: Path) -> Manifest | None:
    """Return the manifest of an upgrade of which something is done; None where another may begin.

    A run that failed before its first shard was done fixes nothing: the next may take another transform or other sizes.

    Raises:
        StateError: There are shards or old vectors, but no manifest that tells what they are.
        GalleryError: The manifest is damaged.
    """
    folder = gallery / FOLDER
    manifest = read_manifest(folder)
    if manifest is not None:
        done = (read_record(folder, shard, manifest.transform) for shard in manifest.shards)
        kept = read_state(gallery).space == manifest.spaces.space or (folder / BEFORE).exists()
        return manifest if kept or any(record is not None for record in done) else None
    found = [name for name in (SHARDS, BEFORE, AFTER) if (folder / name).exists() and any((folder / name).iterdir())]
    if found:
        raise StateError(
            f"{folder} holds {' and '.join(found)}, but no manifest that tells what they are; restore manifest.json, "
            f"or delete them for good with `compat-sdk upgrade discard {gallery}"
            f"{' --old' if BEFORE in found else ''}`"
        )
    return None


def _freeze(
    folder: Path,
    manifest: Manifest,
    snapshot: Snapshot,
    wanted: Sequence[NDArray[np.bool_]],
    side: Snapshot | None,
    missing_side: MissingSide,
    *,
    is_new: bool,
) -> Manifest:
    if is_new and folder.exists():
        shutil.rmtree(folder)  # second names of rows, left by a first run that failed or by a discard that was killed
    elif not is_new:
        sweep_sources(folder, manifest)
    if is_new or any(mask.any() for mask in wanted):
        try:
            manifest = freeze(folder, manifest, snapshot, wanted, side, missing_side)
        except DataError:
            if is_new:
                shutil.rmtree(folder)
            else:
                sweep_sources(folder, manifest)
            raise
        write_manifest(folder, manifest)
    make_folder(folder / SHARDS)
    return manifest


def require_same(
    gallery: Path,
    manifest: Manifest,
    opener: TransformOpener,
    snapshot: Snapshot,
    shard_rows: int | None,
    block_rows: int | None,
) -> None:
    """Refuse to go on with an upgrade in another way than it was begun.

    Raises:
        ConfigError: Another transform or other sizes.
        StateError: The gallery has been cut over already.
    """
    if snapshot.state.space == manifest.spaces.space:
        raise StateError(
            f"{gallery} has been cut over to space {snapshot.state.space} already; roll back, or begin another upgrade "
            f"after `compat-sdk upgrade discard {gallery} --old`"
        )
    require_transform(gallery, manifest, opener)
    wanted = {"shard_rows": (shard_rows, manifest.shard_rows), "block_rows": (block_rows, manifest.block_rows)}
    for name, (found, fixed) in wanted.items():
        if found not in (None, fixed):
            raise ConfigError(f"{name} is {found}, but this upgrade was begun with {fixed}; leave it out")


def require_transform(gallery: Path, manifest: Manifest, opener: TransformOpener) -> None:
    """Refuse another transform than that of the upgrade.

    Raises:
        ConfigError: It is another, or is run in another way.
    """
    if dict(opener.identity) != dict(manifest.transform):
        raise ConfigError(
            f"the upgrade of {gallery} was begun with transform {_shown(manifest.transform)}, found "
            f"{_shown(opener.identity)}; go on with the same, or begin anew after `compat-sdk upgrade discard "
            f"{gallery}`"
        )


def _shown(identity: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value[:16]}" for name, value in identity.items())


def _other_space(what: str, found: Snapshot, expected: str) -> IncompatibleSpaceError:
    return IncompatibleSpaceError(
        found.state.space,
        (),
        expected,
        f"{what} is in space {found.state.space} with dimension {found.state.dim}, the transform takes {expected}; "
        f"use the transform that was trained for them",
    )
