"""Which row of side-information belongs to which row of a gallery: by id, and without all ids in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.missing_side import MissingSide
from compat_sdk.shown import shown_names, shown_value


class Pairing:
    """Finds rows of side-information by id, and counts those that have none or another label.

    Mostly the two galleries list their images in the same order, perhaps with gaps in one. While they do, the tables
    are compared line by line. The first id that is not further down has all ids of the side-information read.
    """

    def __init__(self, side: Snapshot) -> None:
        """Read nothing yet."""
        self._side = side
        self._lines = chain.from_iterable(table.lines() for table in side.tables)
        self._line: tuple[Sequence[str], Sequence[str]] = ((), ())
        self._first = self._at = 0  # row of the line's first id, and how many of its ids are passed
        self._in_order = True
        self._asked, self._missing, self._examples = 0, 0, list[str]()
        self._otherwise, self._other_examples = 0, list[str]()

    def rows(self, ids: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id, -1 where it has none; ``labels`` are those of the gallery, empty for none.

        Raises:
            GalleryError: The side-information's table is missing or damaged.
        """
        found, told = np.full(len(ids), -1, np.int64), [""] * len(ids)
        done = self._further_down(ids, found, told) if self._in_order else 0
        if done < len(ids):
            self._in_order = False
            row_of, side_labels = self._side.row_of, self._side.labels
            found[done:] = [row_of.get(id, -1) for id in ids[done:]]
            told[done:] = [side_labels[row] if row >= 0 else "" for row in found[done:].tolist()]
        missing = np.flatnonzero(found < 0).tolist()
        self._asked += len(ids)
        self._missing += len(missing)
        self._examples += [ids[row] for row in missing[: 11 - len(self._examples)]]
        for id, label, other in zip(ids, labels, told, strict=True):
            if label and other and label != other:
                self._otherwise += 1
                if self._otherwise <= 3:
                    self._other_examples.append(f"{id} ({shown_value(label)}, {shown_value(other)})")
        return found

    @property
    def missing(self) -> int:
        """How many of the ids that were asked for have no side-information."""
        return self._missing

    def require_all(self, missing: MissingSide = "refuse") -> None:
        """Refuse rows that have side-information of another label, or none, unless these take zeros.

        Other labels tell that the vectors are perhaps under the ids of other images.

        Raises:
            DataError: Some of the ids that were asked for have none, or another label; the message names them.
        """
        if self._missing and missing == "refuse":
            shown = shown_names(self._examples, self._missing)
            raise DataError(
                f"{self._missing} of {self._asked} rows have no side-information in {self._side.folder}: {shown}; "
                f"embed those images into that gallery, remove the rows, or give them zeros (--missing-side zeros)"
            )
        if self._otherwise:
            shown = shown_names(self._other_examples, self._otherwise)
            raise DataError(
                f"{self._otherwise} of {self._asked} rows have another label in {self._side.folder}: {shown}; its "
                f"vectors are perhaps those of other images: build it again from the same images, or without labels"
            )

    def _further_down(self, ids: Sequence[str], found: NDArray[np.int64], told: list[str]) -> int:
        """Write rows and labels of the first ids, while each stands further down than the one before; say how many."""
        done = 0
        while done < len(ids):
            here, labels = self._line
            if self._at == len(here):
                if not self._next_line():
                    return done
                continue
            count = min(len(ids) - done, len(here) - self._at)
            if ids[done : done + count] == here[self._at : self._at + count]:
                found[done : done + count] = np.arange(self._first + self._at, self._first + self._at + count)
                told[done : done + count] = labels[self._at : self._at + count]
                done, self._at = done + count, self._at + count
                continue
            for id in ids[done : done + count]:
                while self._line[0][self._at] != id:
                    self._at += 1
                    if self._at == len(self._line[0]) and not self._next_line():
                        return done
                found[done], told[done] = self._first + self._at, self._line[1][self._at]
                done, self._at = done + 1, self._at + 1
                if self._at == len(self._line[0]):
                    break
        return done

    def _next_line(self) -> bool:
        self._first, self._at = self._first + len(self._line[0]), 0
        self._line = next(((ids, labels) for ids, labels in self._lines if ids), ([], []))
        return len(self._line[0]) > 0
