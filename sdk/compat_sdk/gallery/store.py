"""A gallery on disk: immutable segment files, and one small file that says which of them count.

    gallery.json                     format, space, dimension, generation, and a record of every file below
    vectors-GENERATION-RANDOM.npy    rows of one segment, float32 or the gallery's dtype
    rows-GENERATION-RANDOM.json      their ids and labels; .jsonl where they are more than 65,536
    index-GENERATION-RANDOM.usearch  optional index over all rows, or .hnswlib or .faiss: a cache
    gallery.lock                     held by the one process that writes
    signature.json                   if the gallery was signed: a signature over gallery.json, and so over all it names,
    release.json                     and over this: which of its versions it is, see `compat_sdk.gallery.release`
    payload.jsonl                    optional objects beside the rows, see `compat_sdk.gallery.payload`; no part of it
    upgrade/                         an upgrade to another space, see `compat_sdk.upgrade`; no file of it counts

A writer adds files under new names, makes them durable, and then replaces gallery.json in one step. Whoever
dies in between leaves files that nothing names; a later writer sweeps them up. A reader holds the files
that it opened, so a writer never disturbs it.

A state is identified by all that it says, file names with their random part included, and never by its generation: a
folder that was deleted and built anew has the same numbers. A new state takes the place of the one that its writer
saw, or of none: see `write_state`.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from compat_sdk.errors import CorruptFileError, GalleryError, GalleryLockedError
from compat_sdk.files.atomic import durable_temporary, sync_folder
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.gallery.files import RESTORE as _RESTORE
from compat_sdk.gallery.lock import LOCK_FILE
from compat_sdk.gallery.state import FILE_NAME, STATE_FILE, State, parse_state, rendered
from compat_sdk.kinds import instead_of
from compat_sdk.litter import is_litter
from compat_sdk.outputs import Layout

SIGNATURE = "signature.json"
LAYOUT: Layout = {
    r"(gallery|signature|release)\.json|gallery\.lock|(origins|payload)\.jsonl": None,
    FILE_NAME.pattern: None,
}
"""What a gallery leaves in its folder, beside an upgrade and its lock."""
_STRAY = re.compile(r"\.gallery\.json\..*\.tmp")
_SIGNATURE_LIMIT = 4 << 20
_DEAD_AFTER_S = 1.0  # a commit takes two system calls; a writer that took this long between them is gone


class StateChangedError(GalleryLockedError):
    """Another writer changed the gallery since this one read it, so that its change was not made."""


def write_state(folder: Path, state: State, before: State | None) -> None:
    """Make ``state`` the gallery's state, durably and in one step, if ``before`` still is.

    The lock alone does not promise that: its file may be deleted, and some file systems lock nothing. So a writer
    first gives its new state a name that follows from ``before`` and that one file only can have; while it is there,
    no other writer can follow ``before``. Then it renames that file to gallery.json.

    Args:
        folder: The gallery's.
        state: What the gallery is to be.
        before: What it was when the writer read it; None where there was no gallery.

    Raises:
        StateChangedError: The gallery is in another state by now; nothing was changed.
        OSError: The disk is full or the folder is not writable; nothing was changed.
    """
    sync_folder(folder)
    target = folder / STATE_FILE
    with durable_temporary(target, rendered(state)) as temporary:
        if before is None:
            try:
                _link_new(temporary, target)
            except FileExistsError as error:
                raise StateChangedError(f"another process made a gallery in {folder}; open it instead") from error
        else:
            _follow(folder, temporary, before, {file.name for file in state.files})
    sync_folder(folder)


def _follow(folder: Path, temporary: Path, before: State, names: set[str]) -> None:
    """Rename ``temporary``, a state of files with these names, to gallery.json if nothing else followed ``before``."""
    changed = StateChangedError(
        f"another process changed gallery {folder} while this one was writing; nothing was changed, try again"
    )
    successor = folder / f".{STATE_FILE}.{before.identity[:16]}.tmp"
    try:
        _take_name(temporary, successor)
        mine = successor.stat()
        try:
            if read_state(folder).identity != before.identity or not names <= {path.name for path in folder.iterdir()}:
                raise changed
            successor.replace(folder / STATE_FILE)
        finally:
            with suppress(OSError):
                if os.path.samestat(successor.stat(), mine):
                    successor.unlink()
    except FileNotFoundError as error:  # another writer gave this one up, or the folder is gone
        raise changed from error


def _take_name(temporary: Path, successor: Path) -> None:
    """Give a file the name; a name that stays taken was left by a writer that died, and is taken from it."""
    seen, until = None, 0.0
    while True:
        try:
            _link_new(temporary, successor)
            return
        except FileExistsError:
            with suppress(FileNotFoundError):
                found = successor.stat()
                if seen is None or not os.path.samestat(found, seen):
                    seen, until = found, time.monotonic() + _DEAD_AFTER_S
                elif time.monotonic() > until:
                    successor.unlink()
        time.sleep(0.01)


def _link_new(source: Path, target: Path) -> None:
    """Give a file a second name that must be free, as a copy where the file system knows no links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        if not source.exists():
            raise
        with target.open("xb") as file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())


def read_state(folder: Path) -> State:
    """Read gallery.json and check it to the byte.

    Raises:
        GalleryError: It is missing, damaged, or of a version that this release cannot read.
    """
    return parse_state(folder, read_state_bytes(folder))


def read_state_bytes(folder: Path) -> bytes:
    """Return the content of gallery.json, unchecked.

    Raises:
        GalleryError: It is missing or cannot be read.
        SystemRefusedError: The system refused to read it.
    """
    path = folder / STATE_FILE
    try:
        return read_plain(path)
    except CorruptFileError as error:
        raise GalleryError(f"{error}; {_RESTORE}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        other = instead_of("gallery", folder)
        raise GalleryError(other or f"{folder} is not a gallery: found no {STATE_FILE}; check the path") from error
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {_RESTORE}") from error


def read_signature(folder: Path) -> bytes | None:
    """Return the content of a gallery's signature, unchecked; None if it has none.

    Raises:
        GalleryError: It is no plain file, or has more than 4 MiB.
        SystemRefusedError: The system refused to read it.
    """
    path = folder / SIGNATURE
    if not os.path.lexists(path):
        return None
    if path.is_symlink() or not path.is_file():
        raise GalleryError(f"{path} is no plain file; sign the gallery again")
    try:
        return read_plain(path, _SIGNATURE_LIMIT)
    except CorruptFileError as error:
        raise GalleryError(f"{error}; sign the gallery again") from error
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; sign the gallery again") from error


def sweep(folder: Path, state: State) -> None:
    """Delete what crashed or superseded writes left behind; call it with the lock held.

    Files of a later generation than the state's may belong to a writer that the lock did not stop, and stay until the
    gallery has passed that generation: then their writer cannot commit any more.
    """
    named = {file.name for file in state.files}
    for path in folder.iterdir():
        ours = FILE_NAME.fullmatch(path.name)
        superseded = ours and path.name not in named and int(ours["generation"]) <= state.generation
        if superseded or _STRAY.fullmatch(path.name):
            with suppress(OSError):  # still open elsewhere (Windows): the next writer tries again
                path.unlink()


def is_new_folder(folder: Path) -> bool:
    """Whether a gallery may be created here: nothing there, or only what a killed `create` left."""
    return not folder.exists() or (
        folder.is_dir()
        and all(
            path.name == LOCK_FILE or _STRAY.fullmatch(path.name) or is_litter(path.name) for path in folder.iterdir()
        )
    )
