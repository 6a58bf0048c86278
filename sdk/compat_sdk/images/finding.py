"""The pictures in a folder, and what lies beside them: nothing is left out without being counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from compat_sdk.errors import DataError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.install import install_command
from compat_sdk.litter import is_litter

SUFFIXES = frozenset(
    f".{ending}" for ending in "jpg jpeg jpe jfif png webp bmp gif tif tiff ppm pgm pbm pnm avif".split()
)
"""Endings of files that are taken for pictures; upper and lower case alike."""
_HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
"""Endings that are pictures too where the extra ``heif`` is installed."""
# What desktops, photo servers and archivers put beside pictures.
_NOT_FOLDERS = frozenset(("$recycle.bin", "system volume information", "@eadir", "#recycle", "__macosx", "lost+found"))
HIDDEN, BROKEN_LINK, SPECIAL, SEEN = "hidden", "broken link", "pipe or device", "linked twice"


@dataclass(frozen=True)
class FoundPictures:
    """What is in a folder.

    Attributes:
        paths: Pictures, sorted by path.
        left_out: How many files and folders were left out, by ending (``".heic"``) or reason (``"hidden"``).
    """

    paths: tuple[Path, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def note(self) -> str:
        """One line about what was left out; empty where nothing was."""
        if not self.left_out:
            return ""
        parts = ", ".join(f"{count} {name}" for name, count in sorted(self.left_out.items()))
        heif = not _HEIF_SUFFIXES.isdisjoint(self.left_out)
        return f"left out: {parts}" + (f"; {install_command('heif')} reads HEIF pictures" if heif else "")


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  # a name, not a path
    return suffix in SUFFIXES or (suffix in _HEIF_SUFFIXES and find_spec("pillow_heif") is not None)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or holds what systems keep and nobody took as a picture."""
    name = name.lower()
    return name.startswith((".", "~$")) or name in _NOT_FOLDERS


def find_pictures(folder: Path) -> FoundPictures:
    """Return every picture below a folder; folders that links point to are entered, each once.

    Hidden files and folders, and those in which systems keep thumbnails and what was deleted, are left out.

    Args:
        folder: Where to begin. It may be a link or hidden itself.

    Raises:
        DataError: There is no such folder, or one in it cannot be read.
        SystemRefusedError: The system refused to read one.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected a folder of images")
    paths: list[Path] = []
    left_out: Counter[str] = Counter()
    entered: set[tuple[int, int]] = set()
    try:
        _walk(folder, paths, left_out, entered)
    except OSError as error:
        raise_if_refused(error.filename or folder, error)
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror or error}; move it away") from error
    return FoundPictures(tuple(sorted(paths)), dict(left_out))


def _walk(folder: Path, paths: list[Path], left_out: Counter[str], entered: set[tuple[int, int]]) -> None:
    status = folder.stat()
    entries = sorted(folder.iterdir())
    if status.st_ino and (status.st_dev, status.st_ino) in entered:
        left_out[SEEN] += 1
        return
    entered.add((status.st_dev, status.st_ino))
    for entry in entries:
        name = entry.name.lower()
        if is_litter(name) and not entry.is_dir() and not is_picture(name):
            continue
        if is_hidden(name):
            left_out[HIDDEN] += entry.is_dir() or is_picture(name)
        elif entry.is_dir():
            _walk(entry, paths, left_out, entered)
        elif not entry.exists():
            left_out[BROKEN_LINK] += 1
        elif not entry.is_file():
            left_out[SPECIAL] += 1
        elif is_picture(name):
            paths.append(entry)
        else:
            left_out[entry.suffix.lower() or "without an ending"] += 1
    if left_out[HIDDEN] == 0:
        del left_out[HIDDEN]
