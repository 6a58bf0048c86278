"""Which picture file each row of a gallery was embedded from, so that another file of the same name is noticed.

    GALLERY/origins.jsonl    a line per picture: id, bytes, mtime_ns, sha256; the last line of an id counts

It is a note beside the gallery and no part of it: without it, or for a row that it does not know, nothing is compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from compat_sdk.errors import ImageError
from compat_sdk.images import PictureFile
from compat_sdk.images.member import file_sha256, stamp_of

_FILE = "origins.jsonl"


class Origins:
    """The origins of one gallery's rows."""

    def __init__(self, gallery: Path) -> None:
        """Read what is known; lines that are torn or foreign are passed over."""
        self._path = gallery / _FILE
        self._known: dict[str, tuple[int, int, str]] = {}
        with suppress(FileNotFoundError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    value = json.loads(line)
                    self._known[value["id"]] = int(value["bytes"]), int(value["mtime_ns"]), str(value["sha256"])

    def others(self, ids: Sequence[str], images: Sequence[Any]) -> list[int]:
        """Positions of the pictures whose file is not the one that the row of their id was embedded from."""
        return [position for position, id in enumerate(ids) if self._is_other(id, images[position])]

    def record(self, ids: Sequence[str], images: Sequence[Any]) -> None:
        """Note the files that rows were just embedded from."""
        lines = []
        for id, image in zip(ids, images, strict=True):
            if isinstance(image, PictureFile):
                with suppress(OSError, ImageError):  # gone since: then nothing is known of it
                    self._known[id] = *stamp_of(image), file_sha256(image)
                    size, stamp, digest = self._known[id]
                    lines.append(json.dumps({"id": id, "bytes": size, "mtime_ns": stamp, "sha256": digest}))
        if lines:
            with self._path.open("ab") as file:
                if file.tell() and not _ends_a_line(self._path):
                    file.write(b"\n")
                file.write(("\n".join(lines) + "\n").encode("ascii"))

    def _is_other(self, id: str, image: Any) -> bool:
        known = self._known.get(id)
        if known is None or not isinstance(image, PictureFile):
            return False
        size, stamp, digest = known
        try:
            now = stamp_of(image)
            if now[0] != size:
                return True
            return now[1] != stamp and file_sha256(image) != digest
        except (OSError, ImageError):
            return False  # whoever embeds it says so


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
