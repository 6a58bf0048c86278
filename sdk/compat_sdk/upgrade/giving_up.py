"""Giving an upgrade up: what an unfinished run has made or, after the cutover, the old vectors."""

from __future__ import annotations

import shutil
from collections import Counter
from operator import ne
from pathlib import Path

from compat_sdk.errors import ConfigError, GalleryError, StateError
from compat_sdk.files.atomic import sync_folder
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.state import STATE_FILE
from compat_sdk.gallery.store import read_state
from compat_sdk.shown import shown_names
from compat_sdk.upgrade.manifest import AFTER, BEFORE, FOLDER, forget_manifest, read_manifest, require_manifest
from compat_sdk.upgrade.prepare import upgrading
from compat_sdk.upgrade.rows import all_rows, selected_ids


def discard(path: str | Path, *, old: bool = False, drop_added: bool = False) -> int:
    """Delete an upgrade: an unfinished or rolled back run, or, after the cutover, the old vectors for good.

    Call it again if it was interrupted.

    Args:
        path: The gallery.
        old: Confirms that the gallery has been cut over and that its old vectors may go.
        drop_added: Confirms that rows may go that the old gallery alone received, see `compat_sdk.upgrade.follow`.

    Returns:
        Bytes of files that only the upgrade still named; what is linked to the side-information is not among them.

    Raises:
        StateError: No upgrade, or rows that the old gallery alone has and ``drop_added`` is not set.
        ConfigError: ``old`` does not say what the gallery is.
        GalleryError: There is no gallery.
        GalleryLockedError: Another process is upgrading this gallery.
        CompatError: The folder cannot be written.
    """
    gallery = Path(path)
    read_state(gallery)
    with upgrading(gallery):
        folder = gallery / FOLDER
        is_over = _is_over(gallery, folder)
        if is_over and not old:
            raise ConfigError(
                f"{gallery} has been cut over: this would delete its old vectors, and with them the way back; "
                f"confirm with --old"
            )
        if old and is_over is False:
            raise ConfigError(f"{gallery} has not been cut over, its vectors are the old ones; leave out --old")
        alone = [] if drop_added else _in_old_alone(gallery, folder)
        if alone:
            shown = shown_names(alone)
            raise StateError(
                f"{len(alone)} rows were added to the old gallery alone: {shown}; bring them along with `compat-sdk "
                f"upgrade follow {gallery}`, or give them up with drop_added (--drop-added)"
            )
        freed = _bytes_named_only_in(folder)
        forget_manifest(folder)
        shutil.rmtree(folder)
        sync_folder(gallery)
        return freed


def _is_over(gallery: Path, folder: Path) -> bool | None:
    """Whether deleting the upgrade would delete old vectors; with a damaged manifest, if there are any.

    None where a killed `discard` left too little to tell, and nothing that needs to be confirmed.
    """
    try:
        manifest = read_manifest(folder) if folder.exists() else require_manifest(gallery)
    except GalleryError:
        return (folder / BEFORE).exists()
    if manifest is None:
        return (folder / BEFORE).exists() or None
    return read_state(gallery).space == manifest.spaces.space


def _in_old_alone(gallery: Path, folder: Path) -> list[str]:
    """Ids of rows that the kept old gallery received since the cutover and the new one has not.

    None where a `discard` that was told to go on died in the middle of the old gallery's files.
    """
    before, after = folder / BEFORE / STATE_FILE, folder / AFTER / STATE_FILE
    if not (before.exists() and after.exists()):
        return []
    try:
        return _added_before(gallery, before, after)
    except GalleryError:
        if read_manifest(folder) is not None:
            raise
        return []


def _added_before(gallery: Path, before: Path, after: Path) -> list[str]:
    old, new = (load_snapshot(path.parent, False, names=False) for path in (before, after))
    if not any(map(ne, *(selected_ids(one, all_rows(one)) for one in (old, new)))) and len(old) == len(new):
        return []
    known = {*new.ids, *load_snapshot(gallery, False).ids}
    return [id for id in old.ids if id not in known]


def _bytes_named_only_in(folder: Path) -> int:
    """Bytes of the files in ``folder`` that have no name outside of it, neither in the gallery nor in another one."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    names = Counter(file.st_ino for file in found)
    return sum({file.st_ino: file.st_size for file in found if file.st_nlink == names[file.st_ino]}.values())
