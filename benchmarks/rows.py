"""The rows of a study in its JSON file: kept as they come, and not computed again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compat_sdk.files.documents import write_json_atomic

Row = dict[str, Any]


class Rows:
    """A JSON file of rows: a list of them, or an object where facts of the whole study stand beside them.

    Attributes:
        path: The file.
        rows: The rows, in the order in which they came.
        facts: What stands beside the rows; empty for a list.
    """

    def __init__(self, path: Path, *key: str) -> None:
        """Reads the file, if there is one.

        Args:
            path: The file.
            key: Fields that tell a row from every other.
        """
        self.path, self._key = path, key
        found = json.loads(path.read_text()) if path.is_file() else []
        self.rows: list[Row] = found.pop("rows") if isinstance(found, dict) else found
        self.facts: dict[str, Any] = found if isinstance(found, dict) else {}

    def __contains__(self, key: tuple[object, ...]) -> bool:
        """Whether there is a row with these values in the key's fields."""
        return any(tuple(row[name] for name in self._key) == key for row in self.rows)

    def add(self, found: Iterable[Row]) -> None:
        """Adds rows that are not there yet, and writes the file."""
        for row in found:
            if tuple(row[name] for name in self._key) not in self:
                self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Writes the file, atomically; after a change of facts."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(self.path, self.facts | {"rows": self.rows} if self.facts else self.rows)
