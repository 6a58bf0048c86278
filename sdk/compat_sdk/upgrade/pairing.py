"""Which row of side-information belongs to which row of a gallery: by id, and without all ids in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_sdk.gallery.snapshot import Snapshot


class Pairing:
    """Finds rows of side-information by id.

    Mostly the two galleries list their images in the same order, perhaps with gaps in one. While they do, the tables
    are compared line by line. The first id that is not further down has all ids of the side-information read.
    """

    def __init__(self, side: Snapshot) -> None:
        """Read nothing yet."""
        self._side = side
        self._lines = chain.from_iterable(table.lines() for table in side.tables)
        self._line: Sequence[str] = ()
        self._first = self._at = 0  # row of the line's first id, and how many of its ids are passed
        self._in_order = True
        self._asked, self._missing, self._examples = 0, 0, list[str]()

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id, -1 where it has none.

        Raises:
            GalleryError: The side-information's table is missing or damaged.
        """
        found = np.full(len(ids), -1, np.int64)
        done = self._further_down(ids, found) if self._in_order else 0
        if done < len(ids):
            self._in_order = False
            row_of = self._side.row_of
            found[done:] = [row_of.get(id, -1) for id in ids[done:]]
        missing = np.flatnonzero(found < 0).tolist()
        self._asked += len(ids)
        self._missing += len(missing)
        self._examples += [ids[row] for row in missing[: 11 - len(self._examples)]]
        return found

    def require_all(self) -> None:
        """Refuse rows that have no side-information.

        Raises:
            DataError: Some of the ids that were asked for have none; the message names them.
        """
        if self._missing:
            shown = ", ".join(self._examples[:10]) + (", ..." if self._missing > 10 else "")
            raise DataError(
                f"{self._missing} of {self._asked} rows have no side-information in {self._side.folder}: {shown}; "
                f"embed those images with the side-information model into that gallery, or remove the rows"
            )

    def _further_down(self, ids: Sequence[str], found: NDArray[np.int64]) -> int:
        """Write the rows of the first ids, as long as each stands further down than the one before; say how many."""
        done = 0
        while done < len(ids):
            if self._at == len(self._line) and not self._next_line():
                return done
            count = min(len(ids) - done, len(self._line) - self._at)
            if ids[done : done + count] == self._line[self._at : self._at + count]:
                found[done : done + count] = np.arange(self._first + self._at, self._first + self._at + count)
                done, self._at = done + count, self._at + count
                continue
            for id in ids[done : done + count]:
                while self._line[self._at] != id:
                    self._at += 1
                    if self._at == len(self._line) and not self._next_line():
                        return done
                found[done] = self._first + self._at
                done, self._at = done + 1, self._at + 1
                if self._at == len(self._line):
                    break
        return done

    def _next_line(self) -> bool:
        self._first, self._at = self._first + len(self._line), 0
        self._line = next((ids for ids, _ in self._lines if ids), [])
        return len(self._line) > 0
