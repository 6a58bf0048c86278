"""A new bundle under its name: whole and verified, or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from compat_sdk.bundle.archive import zip_bytes
from compat_sdk.bundle.files import open_files, parse_manifest, read_document
from compat_sdk.bundle.folder import replace_folder, write_folder
from compat_sdk.bundle.manifest import FORMAT
from compat_sdk.bundle.names import MANIFEST, SIGNATURE
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.atomic import make_folder, sync_folder
from compat_sdk.files.documents import parse_json
from compat_sdk.outputs import require_place
from compat_sdk.spelling import composed


def form_of(path: Path) -> Literal["folder", "zip"]:
    """Return the form in which a bundle of this name is written: a zip if the name ends with ``.zip``."""
    return "zip" if path.suffix.lower() == ".zip" else "folder"


def publish(
    target: Path,
    contents: Mapping[str, bytes],
    *,
    verify: Callable[[Path], object],
    overwrite: bool = False,
    allow_older: bool = False,
) -> None:
    """Write a bundle under a temporary name, verify it, and give it its name; the name decides its form.

    A process that dies on the way leaves the old bundle or the new, and at most a ``.NAME.*.tmp`` beside it. A zip
    takes an old one's place in one step; for a folder see `replace_folder`.

    Args:
        target: Absolute path of the bundle to make.
        contents: Every file by name, the manifest included.
        verify: Called with the temporary bundle; what it raises stops the publication.
        overwrite: Replace a bundle of the same form.
        allow_older: Also replace a newer release of the same model.

    Raises:
        ConfigError: ``target`` exists, or is to be overwritten and is no bundle of the same form, or a newer release.
        OSError: It cannot be written; nothing is published.
    """
    require_free(target, overwrite)
    if overwrite and not allow_older:
        said = parse_json(contents[MANIFEST], MANIFEST)
        require_no_newer(target, said.get("name"), said.get("release"))
    make_folder(target.parent)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        if form_of(target) == "zip":
            with temporary.open("xb") as file:
                file.write(zip_bytes(contents))
                file.flush()
                os.fsync(file.fileno())
            verify(temporary)
            require_free(target, overwrite)  # it may have been taken meanwhile
            temporary.replace(target)
            sync_folder(target.parent)
        else:
            write_folder(temporary, contents)
            verify(temporary)
            replace_folder(temporary, target, lambda: require_free(target, overwrite))
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)
        raise


def require_no_newer(target: Path, name: object, release: object) -> None:
    """Check that no older release takes the place of a newer one.

    Args:
        target: The bundle to make.
        name: Name of its model; another model may take any place.
        release: Of the bundle to make; at least that of a bundle at ``target``.

    Raises:
        ConfigError: The bundle at ``target`` is of a newer release.
        BundleError: What is there is no bundle.
    """
    if not os.path.lexists(target):
        return
    files = open_files(target)
    there = parse_manifest(read_document(files, MANIFEST), files)
    old, new = (value if type(value) is int else 1 for value in (there.get("release"), release))
    if composed(str(there.get("name"))) == composed(str(name)) and new < old:
        raise ConfigError(
            f"{target} is release {old} of {name}, and release {new} would take its place; expected that one or a "
            f"later: give it a higher release, or allow an older one"
        )


def require_free(target: Path, overwrite: bool) -> None:
    """Check that a bundle may be written here.

    Raises:
        ConfigError: Something exists here and may not be overwritten.
    """
    require_place(target)
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise ConfigError(f"{target} exists; choose another name, or allow it to be overwritten")
    try:
        files = open_files(target)
        same = files.form == form_of(target) and not target.is_symlink()
        manifest = parse_manifest(read_document(files, MANIFEST), files)
        replaceable = same and manifest.get("format") == FORMAT
        listed = manifest.get("files")
        others = files.sizes.keys() - {MANIFEST, SIGNATURE} - (listed.keys() if isinstance(listed, dict) else set())
    except BundleError:
        replaceable, others = False, set()
    if not replaceable:
        raise ConfigError(
            f"{target} exists and is not a bundle ({form_of(target)}), so it is not overwritten; choose another name"
        )
    if others:
        raise ConfigError(
            f"{target} is a bundle, and holds {min(others)} besides, which its manifest does not list, so it is not "
            f"overwritten; move that away or choose another name"
        )
