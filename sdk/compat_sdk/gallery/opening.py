"""Opening a gallery: whose signature it has, whether its files are those that it names, and one whole state of it."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compat_sdk.bundle.trust import Trust
from compat_sdk.errors import GalleryError, SystemRefusedError
from compat_sdk.gallery.files import RESTORE, StoredFile, problem_with
from compat_sdk.gallery.payload import PAYLOAD_FILE, has_payload, read_payload
from compat_sdk.gallery.problems import snapshot_problems
from compat_sdk.gallery.release import RELEASE_FILE, Release, read_release
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.state import STATE_FILE, State, parse_state, rendered
from compat_sdk.gallery.store import SIGNATURE, read_signature, read_state_bytes
from compat_sdk.gallery.tables import StoredTable
from compat_sdk.gallery.vectors import StoredParts
from compat_sdk.progress import Progress


def load_snapshot(
    folder: Path,
    verify: bool,
    *,
    names: bool = True,
    held: bool = True,
    trust: Trust | None = None,
    known: Snapshot | None = None,
) -> Snapshot:
    """Open every file of the present state; start over if a writer replaces it meanwhile.

    Files that were compared are not compared again: beside a writer that never rests, each start has less to do.

    Args:
        folder: The gallery's folder.
        verify: Compare the digests of the vector files as well.
        names: Read the ids and labels now, rather than compare their digests now and read them when they are asked for.
        held: Open every file of rows and keep it open, whatever a writer deletes; False for whoever keeps writers away.
        trust: Whose signature the state must have; None for no matter whose.
        known: An earlier state of the same gallery, opened with the same arguments: its files are not compared again.

    Raises:
        GalleryError: No gallery, a damaged one, or one that is not signed as is asked for.
        MissingExtraError: A signature is asked for and model-signing is not installed.
        SystemRefusedError: The system refused to open a file, such as one more than a process may hold.
    """
    compared = (
        set[StoredFile]()
        if known is None
        else {file for segment in known.state.segments for file in (segment.vectors, segment.table)}
    )
    while True:
        data = read_state_bytes(folder)
        try:
            check = None if trust is None else _require_signer(folder, data, trust)
            state = parse_state(folder, data)
            signer = None if check is None else check(state.space)
            snapshot = _open(folder, state, verify, names, held, compared)
        except GalleryError:
            if read_state_bytes(folder) == data:
                raise
            continue
        if signer is not None:
            snapshot.signed_by, snapshot.payload = signer
            snapshot.vouched = "" if state.index is None else state.index.file.sha256
        return snapshot


def gallery_problems(folder: Path, progress: Progress | None = None, *, vouched: str = "") -> list[str]:
    """Say everything that is wrong with a gallery's present state, one sentence each; additions may go on meanwhile.

    What a writer deletes while it is compared is no damage: then what is new is compared. Files that were compared are
    not compared again.

    Args:
        folder: The gallery's.
        progress: Called with the stage, and bytes compared of how many.
        vouched: SHA-256 of an index file that a signature covers.

    Raises:
        SystemRefusedError: The system refused to read a file, so that nothing is known of it.
    """
    compared = set[StoredFile]()
    while True:
        try:
            snapshot = load_snapshot(folder, False)
        except GalleryError as error:
            return [str(error)]
        snapshot.vouched = vouched
        found = snapshot_problems(snapshot, compared, progress)
        if not found or read_state_bytes(folder) == rendered(snapshot.state):
            return found


def _require_signer(folder: Path, state: bytes, trust: Trust) -> Callable[[str], tuple[str, StoredFile]]:
    """Check who signed the state and the release, before either is parsed.

    What comes back takes the space, and tells who signed, and what is signed beside the rows.
    """
    signature, release = read_signature(folder), read_release(folder)
    if signature is None:
        raise GalleryError(
            f"{folder} is not signed: it has no {SIGNATURE}; sign it with `compat-sdk index sign`, or open it without "
            f"a public key and without a trust file"
        )
    if release is None:
        raise GalleryError(
            f"the signature of {folder} covers no {RELEASE_FILE}, so that any older version could take its place; sign "
            f"it again with `compat-sdk index sign`"
        )
    check = trust.require_gallery_signer(folder, {STATE_FILE: state, RELEASE_FILE: release}, signature)

    def allowed(space: str) -> tuple[str, StoredFile]:
        told = Release.parse(release, folder / RELEASE_FILE)
        signer = check(space, told.name, told.release, told.expires)
        if told.payload is None and has_payload(folder):
            raise GalleryError(
                f"the signature of {folder} does not cover its {PAYLOAD_FILE}; sign it again with `compat-sdk index "
                f"sign`, or delete that file, which the rows do not need"
            )
        signed = told.payload or StoredFile(PAYLOAD_FILE, hashlib.sha256().hexdigest(), 0)
        read_payload(folder, (), signed)  # which compares it
        return signer, signed

    return allowed


def _open(folder: Path, state: State, verify: bool, names: bool, held: bool, compared: set[StoredFile]) -> Snapshot:
    """Open all files first: what is open is read even if a writer deletes it; then compare, and note what was."""
    stored = StoredParts(folder, state.segments, state.dim, state.dtype)
    parts: list[NDArray[Any]] = []
    tables: list[StoredTable] = []
    with _many_files(folder, len(stored)):
        for segment, part in zip(state.segments, stored, strict=True):
            tables.append(StoredTable(folder, segment, held=held))
            if held:
                parts.append(part)
    for segment in state.segments:
        for file, wanted in ((segment.vectors, verify), (segment.table, not names)):
            if wanted and file not in compared:
                if problem := problem_with(folder, file):
                    raise GalleryError(f"{problem}; {RESTORE}")
                compared.add(file)
    snapshot = Snapshot(folder, state, tuple(parts) if held else stored, held_tables=tuple(tables))
    if names:
        _ = snapshot.ids
        snapshot.held_tables = ()  # a gallery that is searched for days holds no file that it does not need
    return snapshot


@contextmanager
def _many_files(folder: Path, count: int) -> Iterator[None]:
    """Say what a limit of open files means for a gallery of this many vector files."""
    try:
        yield
    except SystemRefusedError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise SystemRefusedError(
            error.path,
            error.errno,
            f"gallery {folder} has {count} vector files, more than the system lets this process open; merge them "
            f"with `compat-sdk index compact {folder}`, or raise the limit of open files (ulimit -n)",
        ) from error
