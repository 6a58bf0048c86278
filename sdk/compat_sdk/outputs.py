"""Places to write to: a command writes into, over and away nothing that it did not write itself.

What a command leaves in a folder is its layout. A folder that holds anything else is refused before any work, and what
is deleted is deleted by its name in the layout, never because it is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from compat_sdk.errors import ConfigError
from compat_sdk.kinds import is_address
from compat_sdk.litter import is_litter
from compat_sdk.shown import without_keys

Layout = Mapping[str, "Layout | None"]
"""Regular expressions of whole names: each with the layout of the folder of that name, or None for a file."""

# What a killed `compat_sdk.files.atomic.write_atomic` leaves beside a file, and a killed publication beside a bundle.
_STRAY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.(tmp|old)")
_TELLS = {
    "manifest.json": "a bundle",
    "gallery.json": "a gallery",
    "model.json": "a RUN folder",
    "candidates.jsonl": "the folder of a search",
    "scores.jsonl": "the folder of a search",
    "train": "a dataset",
    "query": "a dataset",
}
_BUNDLE = "compat-sdk-bundle"  # the format that a bundle's manifest names


def require_own(path: str | os.PathLike[str], layout: Layout, what: str) -> None:
    """Refuse a folder to write to that holds anything that the writer does not leave there.

    Nothing is changed. A folder that is absent or empty is fine, and so is a link to one that is. Inside it a link
    never is: what is written or deleted there would be elsewhere.

    Args:
        path: The folder.
        layout: What the writer leaves there, finished or interrupted.
        what: Who writes, such as ``"a training"``, for the error.

    Raises:
        ConfigError: The place is no folder, lies in a file or a bundle, or holds something else; the message names it.
    """
    folder = Path(path)
    require_place(folder)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is {'a link to nothing' if folder.is_symlink() else 'a file'}; expected a new folder, or one "
            f"that {what} wrote: choose another name"
        )
    found = next(_foreign(folder, layout), None)
    if found is not None:
        name, form = found
        tells = ((tell, kind) for tell, kind in _TELLS.items() if not _named(tell, layout)[0])
        kind = next((kind for tell, kind in tells if (folder / tell).exists()), None)
        raise ConfigError(
            f"{folder} holds {name}{form}, which {what} does not write{f' ({kind}?)' if kind else ''}; expected a new "
            f"folder, or one that {what} wrote and nobody else: choose another folder, or move {name} away"
        )


def require_place(path: str | os.PathLike[str]) -> None:
    """Refuse a name under a file, and one inside a bundle, which is damaged by any file that its manifest lacks.

    The address of a store is none either: as a path it would put a key into the name of a folder.

    Raises:
        ConfigError: The name lies in such a place.
    """
    if is_address(path):
        raise ConfigError(f"{without_keys(os.fspath(path))} is the address of a store; expected a path on a disk")
    for parent in Path(path).absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise ConfigError(f"{path} cannot be written: {parent} is a file; expected a folder, choose another name")
        manifest = parent / "manifest.json"
        if manifest.is_file() and _BUNDLE.encode() in _head(manifest):
            raise ConfigError(
                f"{path} lies in the bundle {parent}, which holds its own files alone; choose a place outside of it"
            )


def delete_own(folder: Path, layout: Layout) -> None:
    """Delete the files that a layout names, and the folder once it is empty; nothing else, and nothing behind a link.

    Raises:
        OSError: A file cannot be deleted.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in list(folder.iterdir()):
        known, inner = _named(entry.name, layout)
        if not known or entry.is_symlink():
            continue
        if inner is not None:
            delete_own(entry, inner)
        elif entry.is_file():
            entry.unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        folder.rmdir()


def _foreign(folder: Path, layout: Layout) -> Iterator[tuple[str, str]]:
    """What the layout does not name: each path in the folder, and what is wrong with it if not its name."""
    for entry in sorted(folder.iterdir()):
        known, inner = _named(entry.name, layout)
        if entry.is_symlink():
            yield entry.name, " (a link)"
        elif is_litter(entry.name) and entry.is_file():
            continue
        elif not known:
            yield entry.name, ""
        elif entry.is_dir() != (inner is not None):
            yield entry.name, " (a folder)" if entry.is_dir() else " (a file)"
        elif inner is None and not entry.is_file():
            yield entry.name, " (a pipe or a device)"
        elif inner is not None:
            yield from ((f"{entry.name}/{name}", form) for name, form in _foreign(entry, inner))


def _named(name: str, layout: Layout) -> tuple[bool, Layout | None]:
    """Whether a layout has a name, and the layout of that folder; what is temporary counts as what it was to become."""
    stray = _STRAY.fullmatch(name)
    for known in (name, stray[1]) if stray else (name,):
        for pattern, inner in layout.items():
            if re.fullmatch(pattern, known):
                return True, inner
    return False, None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except FileNotFoundError:  # gone since; what the system refuses is said as it said it
        return b""
