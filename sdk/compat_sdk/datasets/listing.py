"""Pictures listed in a text file, one path a line: no labels, all of them to train on."""

from __future__ import annotations

import io
from pathlib import Path

from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images.finding import is_picture
from compat_sdk.shown import shortened, shown_value

SUFFIX = ".txt"
_LONGEST = 1 << 15  # characters of a path


def open_listing(listing: Path) -> Dataset:
    """Returns the dataset of a list of pictures; its ids are the lines as they stand there.

    The file is UTF-8, with or without a byte-order mark. A path is relative to the list's folder, or absolute: unlike
    a CSV manifest, a list is written on the machine that reads it. Empty lines count for nothing.

    Raises:
        DataError: The file cannot be read or lists nothing, or a line is no path of a picture; the message says which.
    """
    paths: list[Path] = []
    ids: list[str] = []
    number = 0
    try:
        with io.TextIOWrapper(open_plain(listing), "utf-8-sig") as file:
            while line := file.readline(_LONGEST + 1):
                number += 1
                name = line.removesuffix("\n").strip()
                if name:
                    _check(name, len(line))
                    paths.append(listing.parent / name)
                    ids.append(name)
    except DataError as error:
        raise DataError(f"{listing} line {number}: {error}") from None
    except (OSError, UnicodeDecodeError, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(listing, error)
        raise DataError(
            f"cannot read {listing} after line {number}: {shortened(str(error))}; expected a UTF-8 text file"
        ) from error
    if not paths:
        raise DataError(f"{listing} lists no pictures; expected one path a line")
    split = Split("train", tuple(paths), ("",) * len(paths), tuple(ids))
    return Dataset(listing.stem, {"train": split}, f"images without labels listed in {listing.name}")


def _check(name: str, length: int) -> None:
    if length > _LONGEST or "\0" in name or not is_picture(name):
        raise DataError(f"found {shown_value(name)}; expected the path of a picture, such as photos/1.jpg")
