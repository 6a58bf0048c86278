"""A bundle as a folder: its plain files listed and read, and a new folder put in an old one's place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from compat_sdk.bundle.names import MANIFEST
from compat_sdk.errors import BundleError
from compat_sdk.files import read_chunks, sync_folder, write_atomic
from compat_sdk.litter import is_litter

_COUNT_LIMIT = 10_000
# Hubs and data versioning keep a snapshot as links to files named by their content.
_NO_LINKS = "a bundle holds plain files only: copy the folder with what its links point to (cp -rL), and open the copy"


class FolderFiles:
    """The files of a bundle's folder.

    Args:
        folder: The bundle; it may be reached through a link, but nothing inside it may be one. Plain files that
            desktops leave in any folder, such as ``.DS_Store``, are passed over.

    Attributes:
        path: The folder.
        form: ``"folder"``.
        sizes: Size in bytes of every file, by its name with ``/``.

    Raises:
        BundleError: There is no plain file ``manifest.json``, something inside is a link or a special file, or
            there are more than 10 000 files.
        OSError: The folder cannot be listed.
    """

    form = "folder"

    def __init__(self, folder: Path) -> None:
        self.path = folder
        # Before anything else is listed: the folder named by mistake may be a whole disk.
        manifest = folder / MANIFEST
        if manifest.is_symlink() and manifest.is_file():
            raise BundleError(f"{manifest} is a link; {_NO_LINKS}")
        if manifest.is_symlink() or not manifest.is_file():
            raise BundleError(f"{folder} is not a bundle: it has no plain file {MANIFEST}")
        self.sizes: dict[str, int] = {}
        for name, size in _plain_files(folder):
            self.sizes[name] = size
            if len(self.sizes) > _COUNT_LIMIT:
                raise BundleError(f"{folder} holds more than {_COUNT_LIMIT} files; a bundle never does")

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a listed file in parts, never more than was listed.

        Raises:
            BundleError: The file cannot be read, or is shorter or longer than it was.
        """
        size = self.sizes[name]
        try:
            with (self.path / name).open("rb") as file:
                for chunk in read_chunks(file, size):
                    size -= len(chunk)
                    yield chunk
                changed = size > 0 or file.read(1) != b""
        except OSError as error:
            raise BundleError(f"cannot read {self.path / name}: {error.strerror or error}") from error
        if changed:
            raise BundleError(f"{self.path / name} changed since the bundle was opened; open it again")


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Make a folder with these files; the manifest comes last, so that half a folder is no bundle.

    Raises:
        OSError: The folder exists or cannot be written.
    """
    folder.mkdir()
    for name in sorted(contents, key=lambda name: name == MANIFEST):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, contents[name])


def replace_folder(temporary: Path, target: Path) -> None:
    """Rename; a folder cannot replace a folder in one step, so an old one steps aside first.

    A process killed between the two renames leaves nothing at ``target`` and the old folder beside it, whole,
    as ``.NAME.*.old``; rename it back.

    Raises:
        OSError: A rename failed; the old folder is at ``target`` again.
    """
    aside = temporary.with_suffix(".old")
    if os.path.lexists(target):
        target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        if aside.exists():
            aside.rename(target)
        raise
    sync_folder(target.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _plain_files(folder: Path, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield name and size of all files; links and special files are refused, not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _plain_files(Path(entry.path), name + "/")
            elif entry.is_file(follow_symlinks=False):
                if is_litter(entry.name):
                    continue
                yield name, entry.stat(follow_symlinks=False).st_size
            else:
                raise BundleError(f"{entry.path} is a link or a special file; {_NO_LINKS}")
