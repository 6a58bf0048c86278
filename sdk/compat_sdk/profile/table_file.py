"""Files of measured tables: written over nothing else, and read only when they are what they say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import read_json
from compat_sdk.outputs import require_place
from compat_sdk.shown import shown_value


def require_place_of_table(path: str | os.PathLike[str], format: str, what: str) -> None:
    """Refuse to write a table over anything but such a table; call it before measuring.

    Args:
        path: The file.
        format: What the table's ``format`` says.
        what: Such a table, in words.

    Raises:
        ConfigError: Something else is there, or the place is inside a bundle.
    """
    require_place(path)
    if not os.path.lexists(path):
        return
    try:
        plain = Path(path).is_file() and not Path(path).is_symlink()
        written_here = plain and read_json(path).get("format") == format
    except CorruptFileError:
        written_here = False
    if not written_here:
        raise ConfigError(f"{path} exists and is no {what}, so it is not overwritten; choose another name")


def read_table_file(path: str | os.PathLike[str], format: str, version: int, command: str) -> dict[str, Any]:
    """The JSON of a table that any device wrote.

    Raises:
        CorruptFileError: The file is no such table, or of a newer version.
    """
    found = read_json(Path(path))
    if found.get("format") != format or found.get("version") != version:
        raise CorruptFileError(
            f"{path} has format {shown_value(found.get('format'))}, version {shown_value(found.get('version'))}; "
            f"expected {format!r} version {version}, written by `{command}`"
        )
    return found
