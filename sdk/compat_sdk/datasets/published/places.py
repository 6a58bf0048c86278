"""Files of a published set, found by the names that its makers gave them, and lists read line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened, shown_value

_LONGEST = 1 << 24  # characters of a line: a landmark may list ten thousand pictures in one


def require_file(root: Path, name: str, *names: str) -> Path:
    """The first of these files that a folder has.

    Raises:
        DataError: It has none.
    """
    found = next((root / each for each in (name, *names) if (root / each).is_file()), None)
    if found is None:
        raise DataError(
            f"found no {' nor '.join((name, *names)[:2])} in {shortened(str(root))}; unpack the set as it is "
            f"distributed, and pass the folder that holds it as --root"
        )
    return found


def require_folder(root: Path, name: str, *names: str) -> Path:
    """The first of these sub-folders that a folder has.

    Raises:
        DataError: It has none.
    """
    found = next((root / each for each in (name, *names) if (root / each).is_dir()), None)
    if found is None:
        raise DataError(
            f"found no folder {' nor '.join((name, *names))} in {shortened(str(root))}; unpack the set as it is "
            f"distributed, and pass the folder that holds it as --root"
        )
    return found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a UTF-8 file that is not empty, without the space around it.

    Raises:
        DataError: It cannot be read, is no UTF-8 text, or a line has more than 16 Mi characters.
    """
    number = 0
    try:
        with io.TextIOWrapper(open_plain(path), "utf-8-sig") as file:
            while line := file.readline(_LONGEST + 1):
                number += 1
                if len(line) > _LONGEST or "\0" in line:
                    raise bad_line(path, number, line, "a line of text")
                if text := line.strip():
                    yield number, text
    except (OSError, UnicodeDecodeError, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise DataError(
            f"cannot read {path} after line {number}: {shortened(str(error))}; expected a UTF-8 text file"
        ) from error


def bad_line(path: Path, number: int, found: object, expected: str) -> DataError:
    """The error for a line of a list that is not as it should be."""
    return DataError(
        f"{shortened(str(path), 100)} line {number}: found {shown_value(found)}; expected {expected}; download the "
        f"file again"
    )


def is_inside(name: str) -> bool:
    """Whether a path that a list gives stays inside the folder that it begins in."""
    path = PurePosixPath(name)
    return bool(name) and not (
        path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or PureWindowsPath(name).drive
    )
