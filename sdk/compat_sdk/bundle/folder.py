"""A bundle as a folder: its plain files listed and read, and a new folder put in an old one's place."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from compat_sdk.bundle.names import MANIFEST
from compat_sdk.errors import BundleError
from compat_sdk.files.atomic import make_folder, sync_folder, write_atomic
from compat_sdk.files.plain import read_chunks
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.kinds import instead_of
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
            other = instead_of("bundle", folder)
            raise BundleError(other or f"{folder} is not a bundle: it has no plain file {MANIFEST}")
        self.sizes: dict[str, int] = {}
        for name, size in _plain_files(folder):
            self.sizes[name] = size
            if len(self.sizes) > _COUNT_LIMIT:
                raise BundleError(f"{folder} holds more than {_COUNT_LIMIT} files; a bundle never does")

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a listed file in parts, never more than was listed.

        Raises:
            BundleError: The file is gone, or is shorter or longer than it was.
            SystemRefusedError: The system refused to read it.
        """
        size = self.sizes[name]
        try:
            with (self.path / name).open("rb") as file:
                for chunk in read_chunks(file, size):
                    size -= len(chunk)
                    yield chunk
                changed = size > 0 or file.read(1) != b""
        except OSError as error:
            raise_if_refused(self.path / name, error)
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
        make_folder((folder / name).parent)
        write_atomic(folder / name, contents[name])


def replace_folder(temporary: Path, target: Path, require: Callable[[], object]) -> None:
    """Put a folder in the place of another, or of none, with no moment in between where the system can do that.

    Linux and macOS exchange two names in one step on most file systems. Elsewhere the old folder steps aside first: a
    process killed between the two renames leaves nothing at ``target`` and the old folder beside it, whole, as
    ``.NAME.*.old``; `compat_sdk.bundle.Bundle.open` waits for such a moment to end.

    Args:
        temporary: The new folder, beside ``target``.
        target: What it is to be called; what is there is deleted.
        require: Refuses, by raising, what may not be deleted. It was called before the work, which may have taken
            hours, and is called again now.

    Raises:
        OSError: It failed; the old folder is at ``target``.
    """
    require()
    if not os.path.lexists(target):
        temporary.rename(target)
        sync_folder(target.parent)
    elif _exchange(temporary, target):
        sync_folder(target.parent)
        shutil.rmtree(temporary)
    else:
        _replace_in_two_steps(temporary, target)


def stepped_aside(target: Path) -> Path | None:
    """The folder that stood at ``target`` and waits beside it for a replacement to end; None if there is none."""
    with suppress(OSError):
        return next(target.absolute().parent.glob(f".{glob.escape(target.name)}.*.old"), None)
    return None


def _replace_in_two_steps(temporary: Path, target: Path) -> None:
    aside = temporary.with_suffix(".old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(aside)


_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h of macOS
_AT_FDCWD = -100  # fcntl.h of Linux
_UNABLE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot.

    Source: renameat2(2), Linux man-pages; renamex_np(2), macOS.
    """
    names = os.fsencode(one), os.fsencode(other)
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    try:
        if sys.platform == "linux" and library is not None:
            failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
        elif sys.platform == "darwin" and library is not None:
            failed = library.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP))
        else:
            return False
    except AttributeError:  # a C library that does not have it
        return False
    if failed and ctypes.get_errno() not in _UNABLE:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(other))
    return not failed


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
