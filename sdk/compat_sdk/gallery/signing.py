"""Signing a gallery: its state, which names files by their digests, its payload, and which of its versions it is."""

from __future__ import annotations

import os
from dataclasses import replace

from compat_sdk.bundle.signature import make_signature
from compat_sdk.errors import GalleryError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.gallery import store
from compat_sdk.gallery.payload import payload_record
from compat_sdk.gallery.problems import snapshot_problems
from compat_sdk.gallery.release import RELEASE_FILE, Release, next_release
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.state import STATE_FILE


def sign_folder(
    snapshot: Snapshot,
    private_key: str | os.PathLike[str],
    name: str | None,
    release: int | None,
    expires: str | None,
    *,
    allow_older: bool,
) -> Release:
    """Check every file and sign the present state; the write lock must be held. See `compat_sdk.gallery.Gallery.sign`.

    Raises:
        GalleryError: A file is damaged, or the index was not built here: signing would vouch for it.
        ConfigError: The key cannot be used, a value is out of its range, or the release below the last one.
        MissingExtraError: model-signing is not installed.
    """
    folder = snapshot.folder
    data = store.read_state_bytes(folder)
    problems = [f"{folder} changed meanwhile; try again"] if not snapshot.is_of(data) else snapshot_problems(snapshot)
    if snapshot.index_is_foreign:
        problems.append(f"the index was not built here; repair it first: compat-sdk index repair {folder}")
    if problems:
        raise GalleryError(f"{folder} cannot be signed: {problems[0]}")
    made = next_release(folder, name, release, expires, allow_older=allow_older)
    made = replace(made, payload=payload_record(folder))
    contents = {STATE_FILE: data, RELEASE_FILE: made.to_bytes()}
    signature = make_signature(contents, private_key)
    write_atomic(folder / RELEASE_FILE, contents[RELEASE_FILE])
    write_atomic(folder / store.SIGNATURE, signature)
    return made
