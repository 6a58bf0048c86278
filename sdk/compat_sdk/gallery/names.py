"""Ids and labels that stay on the disk: the line of a table is read when one of its rows is asked for, and kept small.

A search asks for the names of its hits alone. Ten million rows take a fifth of a gigabyte once every line was read,
where Python's own texts would take two, and none before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery.tables import StoredTable


@dataclass(frozen=True, eq=False)
class _Line:
    """The names of consecutive rows: ids one after the other in UTF-8, where each ends, and labels by their number."""

    ids: bytes
    ends: NDArray[np.int64]
    labels: tuple[str, ...]
    label_of: NDArray[np.int32]

    @classmethod
    def of(cls, ids: Sequence[str], labels: Sequence[str]) -> _Line:
        encoded = [id.encode("utf-8", "surrogatepass") for id in ids]
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        return cls(
            b"".join(encoded),
            np.fromiter(accumulate(map(len, encoded)), np.int64, len(encoded)),
            tuple(numbers),
            np.fromiter((numbers[label] for label in labels), np.int32, len(labels)),
        )

    def __len__(self) -> int:
        return len(self.ends)

    def of_row(self, row: int) -> tuple[str, str]:
        start = int(self.ends[row - 1]) if row else 0
        id = self.ids[start : int(self.ends[row])].decode("utf-8", "surrogatepass")
        return id, self.labels[self.label_of[row]]


class StoredNames:
    """Id and label of any row of a gallery's state, read when they are asked for."""

    def __init__(self, tables: Sequence[StoredTable]) -> None:
        """Read nothing yet.

        Args:
            tables: Of the segments, in their order; compared with their digests already.
        """
        self._tables = tables
        self._ends = list(accumulate(table.rows for table in tables))
        self._lines: list[dict[int, _Line]] = [{} for _ in tables]

    def of(self, row: int) -> tuple[str, str]:
        """Return the id and the label of a row, counted over all segments.

        Raises:
            GalleryError: Its table is missing or damaged.
            SystemRefusedError: The system refused to read it.
        """
        number = bisect_right(self._ends, row)
        line, inside = self._tables[number].line_of(row - (self._ends[number - 1] if number else 0))
        return self._line(number, line).of_row(inside)

    def labelled(self, labels: set[str]) -> NDArray[np.bool_]:
        """Which rows have one of these labels, bool ``[rows]``; every line is read, once.

        Raises:
            GalleryError: A table is missing or damaged.
            SystemRefusedError: The system refused to read it.
        """
        found = [np.zeros(0, bool)]
        for number, table in enumerate(self._tables):
            for line in range(table.line_of(table.rows - 1)[0] + 1):
                names = self._line(number, line)
                wanted = np.fromiter((label in labels for label in names.labels), bool, len(names.labels))
                found.append(wanted[names.label_of])
        return np.concatenate(found)

    def _line(self, number: int, line: int) -> _Line:
        lines = self._lines[number]
        if line not in lines:
            lines[line] = _Line.of(*self._tables[number].line(line))
        return lines[line]
