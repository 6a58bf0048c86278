"""Which galleries a place names: one, or the parts of one gallery that lies in several folders or machines.

A list of parts is a text file whose name ends in ``.parts``: a line for each, the path of a folder as it is seen from
the file, or the address of a collection. Empty lines, and lines that begin with ``#``, say nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from compat_sdk.errors import ConfigError, CorruptFileError, GalleryError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.kinds import PARTS_SUFFIX, is_address
from compat_sdk.shown import shown_value

Place = str | os.PathLike[str]
_LIMIT = 1 << 20
"""Bytes of a list: ten thousand long paths."""
_EXPECTED = "expected a line for each part: the path of a gallery's folder, or the address of a collection"


def parts_of(place: Place | Sequence[Place]) -> tuple[str, ...]:
    """Return the paths and addresses of a gallery's parts; the place alone where it is one gallery.

    Args:
        place: Of a gallery, or of a list of parts; or the parts themselves.

    Raises:
        ConfigError: No part is named, or one twice, or one that is a list of parts itself.
        GalleryError: The list cannot be read, or is no text.
    """
    if not isinstance(place, str | os.PathLike):
        return _distinct([os.fspath(part) for part in place], "the list of parts")
    path = Path(place)
    if is_address(place) or path.suffix != PARTS_SUFFIX or path.is_dir():
        return (os.fspath(place),)
    lines = [line.strip() for line in _text(path).splitlines()]
    named = [line for line in lines if line and not line.startswith("#")]
    return _distinct([part if is_address(part) else str(path.parent / part) for part in named], str(path))


def _text(path: Path) -> str:
    try:
        return read_plain(path, _LIMIT).decode("utf-8-sig")
    except (CorruptFileError, UnicodeDecodeError) as error:
        raise GalleryError(f"{path} is no list of parts: {error}; {_EXPECTED}") from error
    except FileNotFoundError as error:
        raise GalleryError(f"there is no list of parts {path}; check the path") from error
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {_EXPECTED}") from error


def _distinct(parts: Sequence[str], what: str) -> tuple[str, ...]:
    """The parts, if there is one and each is named once; a folder has one name, whatever leads to it."""
    if not parts:
        raise ConfigError(f"{what} names no part; {_EXPECTED}")
    seen = dict[str, str]()
    for part in parts:
        if "\0" in part:
            raise ConfigError(f"{what} names {shown_value(part)}; {_EXPECTED}")
        if not is_address(part) and Path(part).suffix == PARTS_SUFFIX and not Path(part).is_dir():
            raise ConfigError(f"{what} names {shown_value(part)}, a list of parts itself; name its parts here")
        real = part if is_address(part) else os.path.realpath(part)
        if real in seen:
            raise ConfigError(
                f"{what} names one gallery twice, as {shown_value(seen[real])} and {shown_value(part)}; expected each "
                f"part once"
            )
        seen[real] = part
    return tuple(parts)
