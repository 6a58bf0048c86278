"""Giving an upgrade up: what an unfinished run has made or, after the cutover, the old vectors."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from compat_sdk.errors import ConfigError, GalleryError
from compat_sdk.gallery.store import read_state
from compat_sdk.upgrade.manifest import BEFORE, FOLDER, forget_manifest, read_manifest, require_manifest
from compat_sdk.upgrade.prepare import upgrading


def discard(path: str | Path, *, old: bool = False) -> int:
    """Delete an upgrade: an unfinished or rolled back run, or, after the cutover, the old vectors for good.

    Call it again if it was interrupted.

    Args:
        path: The gallery.
        old: Confirms that the gallery has been cut over and that its old vectors may go.

    Returns:
        Bytes of files that only the upgrade still named; what is linked to the side-information is not among them.

    Raises:
        StateError: No upgrade.
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
        freed = _bytes_named_only_in(folder)
        forget_manifest(folder)
        shutil.rmtree(folder)
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


def _bytes_named_only_in(folder: Path) -> int:
    """Bytes of the files in ``folder`` that have no name outside of it, neither in the gallery nor in another one."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    names = Counter(file.st_ino for file in found)
    return sum({file.st_ino: file.st_size for file in found if file.st_nlink == names[file.st_ino]}.values())
