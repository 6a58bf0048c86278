"""What is kept beside the rows of a gallery: an object of JSON for each id, to be shown and to filter by.

    GALLERY/payload.jsonl    a line per row: id, payload; the last line of an id counts

It is a note beside the gallery, and no state covers it: without it every row is still found. A signature does, see
`compat_sdk.gallery.release`; then what was appended since is not read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from compat_sdk.errors import DataError, GalleryError
from compat_sdk.files.atomic import sync_folder
from compat_sdk.files.documents import check_plain
from compat_sdk.files.plain import open_plain, open_to_append
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.gallery.files import StoredFile
from compat_sdk.shown import shortened, shown_value

PAYLOAD_FILE = "payload.jsonl"
_TAKEN = ("label", "compat_id", "compat_source", "compat_origin")


def payload_lines(ids: Sequence[str], payload: Sequence[Mapping[str, object]]) -> Iterator[bytes]:
    """The lines of rows.

    Raises:
        DataError: A payload is nothing that JSON can carry, or has a field ``label`` or ``compat_id``: taken.
    """
    for id, values in zip(ids, payload, strict=True):
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise DataError(f"the payload of {shown_value(id)} is {shown_value(values)}; expected an object of fields")
        taken = [name for name in _TAKEN if name in values]
        if taken:
            raise DataError(f"the payload of {shown_value(id)} has the field {taken[0]}, which is taken; rename it")
        try:
            check_plain(values)
            line = json.dumps({"id": id, "payload": dict(values)}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"the payload of {shown_value(id)} is no JSON ({shortened(str(error))}); pass texts, numbers and "
                f"lists, at most 32 levels deep"
            ) from error
        yield line.encode("ascii") + b"\n"


def check_payload(payload: Sequence[Mapping[str, object]] | None, ids: Sequence[str]) -> list[bytes]:
    """The lines of rows whose payload may be none.

    Raises:
        DataError: There are not as many as ids, or one is nothing that is kept.
    """
    if payload is not None and len(payload) != len(ids):
        raise DataError(f"found {len(payload)} payloads, expected {len(ids)}, one per vector")
    return list(payload_lines(ids, [{}] * len(ids) if payload is None else payload))


def append_payload(folder: Path, lines: Iterable[bytes]) -> None:
    """Add lines, and have them on the disk at the end; call it with the gallery's lock held.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / PAYLOAD_FILE
    with open_to_append(path) as file:
        if file.tell() and not _ends_a_line(path):  # torn by a crash
            file.write(b"\n")
        for line in lines:
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def has_payload(folder: Path) -> bool:
    """Whether anything was ever kept beside the rows."""
    return os.path.lexists(folder / PAYLOAD_FILE)


def payload_record(folder: Path) -> StoredFile:
    """What a signature covers: the bytes that are there, none where there is no file; the lock must be held.

    Raises:
        GalleryError: The file is a link, a pipe or a device, or cannot be read.
        SystemRefusedError: The system refused to read it.
    """
    digest, size = hashlib.sha256(), 0
    for line in _bytes(folder / PAYLOAD_FILE) if has_payload(folder) else ():
        digest.update(line)
        size += len(line)
    return StoredFile(PAYLOAD_FILE, digest.hexdigest(), size)


def read_payload(
    folder: Path, ids: Collection[str] | None = None, signed: StoredFile | None = None
) -> dict[str, dict[str, object]]:
    """The payload of each id that has one; lines that are torn are passed over.

    Args:
        folder: The gallery's.
        ids: Those that are wanted; None for all.
        signed: What a signature covers: its bytes are compared, and nothing behind them is read. None for the whole
            file, whoever wrote it.

    Raises:
        GalleryError: The file is a link, a pipe or a device, cannot be read, or is not the one that was signed.
        SystemRefusedError: The system refused to read it.
    """
    if not has_payload(folder) and not (signed and signed.bytes):
        return {}
    wanted = None if ids is None else set(ids)
    found: dict[str, dict[str, object]] = {}
    for id, values in _values(_bytes(folder / PAYLOAD_FILE) if signed is None else _signed(folder, signed)):
        if wanted is None or id in wanted:
            found[id] = values
    return {id: values for id, values in found.items() if values}


def _values(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, object]]]:
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            continue
        id, values = value.get("id"), value.get("payload")
        if isinstance(id, str) and isinstance(values, dict):
            yield id, values


def _signed(folder: Path, signed: StoredFile) -> Iterator[bytes]:
    """The lines of the bytes that a signature covers; what came behind them is left alone.

    Raises:
        GalleryError: There are others, or fewer; the last line is yielded before that is known.
    """
    digest, left = hashlib.sha256(), signed.bytes
    for line in _bytes(folder / PAYLOAD_FILE) if left else ():
        line = line[:left]
        digest.update(line)
        left -= len(line)
        yield line
        if not left:
            break
    if left or digest.hexdigest() != signed.sha256:
        raise GalleryError(
            f"{folder / PAYLOAD_FILE} does not begin with the {signed.bytes} bytes that were signed; get the gallery "
            f"again from its maker"
        )


def _bytes(path: Path) -> Iterator[bytes]:
    """The lines of the file."""
    try:
        if path.is_symlink():
            raise GalleryError(f"{path} is a link; put the file itself in its place, or delete the link")
        with open_plain(path) as file:
            yield from file
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(
            f"cannot read {path}: {error.strerror or error}; delete it, the rows do not need it"
        ) from error


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
