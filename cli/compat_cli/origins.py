"""Which picture file each row of a gallery was embedded from, so that another file of the same name is noticed.

    GALLERY/origins.jsonl    a line per picture: id, bytes, mtime_ns, sha256; the last line of an id counts

It is a note beside the gallery and no part of it: without it, or for a row that it does not know, nothing is compared.
A gallery in a store has the same in a field of each row, and one in parts has that of each part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import sync_folder
from compat_sdk.files.plain import open_plain, open_to_append
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import PictureFile
from compat_sdk.images.packed import file_sha256, stamp_of

if TYPE_CHECKING:
    from compat_sdk.gallery import Gallery
    from compat_sdk.gallery.remote import RemoteGallery

_Origin = tuple[int, int, str]
"""Bytes of a picture's file, when it was changed, in nanoseconds, and its SHA-256."""

_FILE = "origins.jsonl"


class Origins:
    """The origins of one gallery's rows."""

    def __init__(self, gallery: Path) -> None:
        """Read what is known; lines that are torn or foreign are passed over.

        Raises:
            CorruptFileError: It is a pipe or a device.
            SystemRefusedError: The system refused to read it.
        """
        self._path = gallery / _FILE
        self._known: dict[str, _Origin] = {}
        try:
            with open_plain(self._path) as file:
                for line in file:
                    self._known.update(_origin(line))
        except FileNotFoundError as error:
            if self._path.is_symlink():
                raise CorruptFileError(f"{self._path} is a link to nothing; delete it, no row depends on it") from error
        except OSError as error:
            raise_if_refused(self._path, error)
            raise CorruptFileError(
                f"cannot read {self._path}: {error.strerror or error}; delete it, no row depends on it"
            ) from error

    def others(self, ids: Sequence[str], images: Sequence[Any]) -> list[int]:
        """Positions of the pictures whose file is not the one that the row of their id was embedded from."""
        return [row for row, id in enumerate(ids) if _is_other(self._known.get(id), images[row])]

    def record(self, ids: Sequence[str], images: Sequence[Any]) -> None:
        """Note the files that rows were just embedded from."""
        found = _origins(ids, images)
        self._known.update(found)
        lines = [
            json.dumps({"id": id, "bytes": size, "mtime_ns": stamp, "sha256": digest})
            for id, (size, stamp, digest) in found.items()
        ]
        if lines:
            with open_to_append(self._path) as file:
                if file.tell() and not _ends_a_line(self._path):
                    file.write(b"\n")
                file.write(("\n".join(lines) + "\n").encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._path.parent)


class _StoreOrigins:
    """The same of a gallery in a store, whose rows each have their own."""

    def __init__(self, gallery: RemoteGallery) -> None:
        self._gallery = gallery

    def others(self, ids: Sequence[str], images: Sequence[Any]) -> list[int]:
        known = {id: _of_text(text) for id, text in self._gallery.origins(ids).items()}
        return [row for row, id in enumerate(ids) if _is_other(known.get(id), images[row])]

    def record(self, ids: Sequence[str], images: Sequence[Any]) -> None:
        self._gallery.note_origins({id: ":".join(map(str, origin)) for id, origin in _origins(ids, images).items()})


class _PartsOrigins:
    """The same of a gallery in parts, whose last part takes what is added.

    A part is asked about its own rows alone: it may still know the origin of one that has moved to the last part.
    """

    def __init__(self, parts: Sequence[Gallery]) -> None:
        self._parts = [(part, origins_of(part)) for part in parts]

    def others(self, ids: Sequence[str], images: Sequence[Any]) -> list[int]:
        found = list[int]()
        for part, origins in self._parts:
            held = part.held(ids)
            rows = [row for row, id in enumerate(ids) if id in held]
            others = origins.others([ids[row] for row in rows], [images[row] for row in rows])
            found += [rows[place] for place in others]
        return sorted(found)

    def record(self, ids: Sequence[str], images: Sequence[Any]) -> None:
        self._parts[-1][1].record(ids, images)


def origins_of(gallery: Gallery) -> Origins | _StoreOrigins | _PartsOrigins:
    """The origins of a gallery's rows, wherever it keeps them.

    Raises:
        CorruptFileError: Their file is a pipe or a device.
        SystemRefusedError: The system refused to read it.
    """
    from compat_sdk.gallery.parts import PartsGallery
    from compat_sdk.gallery.remote import RemoteGallery

    if isinstance(gallery, PartsGallery):
        return _PartsOrigins(gallery.parts)
    return _StoreOrigins(gallery) if isinstance(gallery, RemoteGallery) else Origins(gallery.path)


def _origins(ids: Sequence[str], images: Sequence[Any]) -> dict[str, _Origin]:
    """Of each picture that lies in a file."""
    found: dict[str, _Origin] = {}
    for id, image in zip(ids, images, strict=True):
        if isinstance(image, PictureFile):
            with suppress(FileNotFoundError):  # gone since: then nothing is known of it
                found[id] = *stamp_of(image)[:2], file_sha256(image)
    return found


def _is_other(known: _Origin | None, image: Any) -> bool:
    if known is None or not isinstance(image, PictureFile):
        return False
    size, stamp, digest = known
    try:
        now = stamp_of(image)
        if now[0] != size:
            return True
        return now[1] != stamp and file_sha256(image) != digest
    except OSError as error:
        raise_if_refused(image, error)
        return False  # gone since: whoever embeds it says so


def _of_text(text: str) -> _Origin | None:
    size, _, rest = text.partition(":")
    stamp, _, digest = rest.partition(":")
    known = all(part.isascii() and part.removeprefix("-").isdigit() and len(part) < 20 for part in (size, stamp))
    return (int(size), int(stamp), digest) if known else None


def _origin(line: bytes) -> dict[str, _Origin]:
    """What a line says: the origin of one id, or nothing where it is no such line."""
    try:
        value = json.loads(line)  # an id may be no valid Unicode, as the name of a file may be
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    id, size, stamp, digest = (value.get(name) for name in ("id", "bytes", "mtime_ns", "sha256"))
    if isinstance(id, str) and isinstance(digest, str) and type(size) is int and type(stamp) is int:
        return {id: (size, stamp, digest)}
    return {}


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
