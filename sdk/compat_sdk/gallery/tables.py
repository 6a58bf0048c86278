"""The ids and labels of a gallery on disk: one table per segment, a line of JSON for every 65,536 rows."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from compat_sdk.errors import CorruptFileError, GalleryError
from compat_sdk.files.plain import open_plain, read_chunks
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.gallery.files import RESTORE, Segment, StoredFile, problem_with, write_new
from compat_sdk.shown import shortened

Names = tuple[Sequence[str], Sequence[str]]
"""The ids and labels of consecutive rows."""

_ROWS_PER_LINE = 65536
_MOST_READ = 1 << 18  # a held table of more bytes is mapped: one more open file


def write_table(folder: Path, generation: int, names: Iterable[Names], rows: int) -> StoredFile:
    """Write the ids and labels of a segment of this many rows: one JSON object per line and 65,536 rows.

    With one line it is the JSON file of earlier releases; with more its name says so, and they refuse it.
    """
    suffix = ".json" if rows <= _ROWS_PER_LINE else ".jsonl"
    return write_new(folder, "rows", generation, suffix, _lines(names))


class StoredTable:
    """The table of a segment, read a line at a time; one that is held is read even if a writer has deleted it since."""

    def __init__(self, folder: Path, segment: Segment, *, held: bool = False) -> None:
        """Open the table if it is to be held; nothing is read of a large one yet.

        Raises:
            GalleryError: A table to be held is missing, of another size, or no plain file.
            SystemRefusedError: The system refused to open it.
        """
        self._path, self._segment = folder / segment.table.name, segment
        self._held = self._hold() if held else None
        self._starts: list[int] | None = None

    @property
    def rows(self) -> int:
        """Number of rows of the segment."""
        return self._segment.rows

    def lines(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the ids and labels of the segment, line by line, after comparing the digest.

        Raises:
            GalleryError: The file is missing, damaged, or of another length.
            SystemRefusedError: The system refused to read it.
        """
        self._require_intact()
        rows = 0
        with self._explained():
            for raw in self._raw_lines():
                ids, labels = _parsed(raw)
                rows += len(ids)
                yield ids, labels
            if rows != self._segment.rows:
                raise ValueError(f"{rows} rows")

    def line_of(self, row: int) -> tuple[int, int]:
        """In which line the names of a row are, and the place there."""
        return divmod(row, _ROWS_PER_LINE) if self._path.suffix == ".jsonl" else (0, row)

    def line(self, number: int) -> tuple[list[str], list[str]]:
        """Return the ids and labels of one line; the digest is not compared again.

        Raises:
            GalleryError: The file is missing, or has no such line of as many rows.
            SystemRefusedError: The system refused to read it.
        """
        with self._explained():
            if self._starts is None:
                self._starts = [0, *accumulate(map(len, self._raw_lines()))]
            start, stop = self._starts[number : number + 2]
            ids, labels = _parsed(self._between(start, stop))
            last = number == len(self._starts) - 2
            wanted = self._segment.rows - number * _ROWS_PER_LINE if last else _ROWS_PER_LINE
            if len(ids) != wanted:
                raise ValueError(f"{len(ids)} rows in line {number + 1}, expected {wanted}")
            return ids, labels

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say of what goes wrong in reading the table that it is the table."""
        try:
            yield
        except OSError as error:
            raise_if_refused(self._path, error)
            raise GalleryError(f"cannot read {self._path}: {error.strerror or error}; {RESTORE}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise GalleryError(
                f"{self._path} does not list {self._segment.rows} ids and labels ({shortened(repr(error))}); {RESTORE}"
            ) from error

    def _require_intact(self) -> None:
        file = self._segment.table
        if self._held is None:
            problem = problem_with(self._path.parent, file)
        else:
            found = hashlib.sha256(self._held).hexdigest()
            problem = None if found == file.sha256 else f"{self._path} has SHA-256 {found}, expected {file.sha256}"
        if problem:
            raise GalleryError(f"{problem}; {RESTORE}")

    def _raw_lines(self) -> Iterator[bytes]:
        if self._held is None:
            with open_plain(self._path) as file:
                yield from file
            return
        start = 0
        while start < len(self._held):
            stop = self._held.find(b"\n", start) + 1 or len(self._held)
            yield self._held[start:stop]
            start = stop

    def _between(self, start: int, stop: int) -> bytes:
        if self._held is not None:
            return self._held[start:stop]
        with open_plain(self._path) as file:
            file.seek(start)
            return file.read(stop - start)

    def _hold(self) -> bytes | mmap.mmap:
        expected = self._segment.table.bytes
        try:
            if self._path.is_symlink():
                raise GalleryError(f"{self._path} is a link; {RESTORE}")
            with open_plain(self._path) as file:
                size = os.fstat(file.fileno()).st_size
                if size != expected:
                    raise GalleryError(f"{self._path} has {size} bytes, expected {expected}; {RESTORE}")
                if size > _MOST_READ:
                    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
                return b"".join(read_chunks(file, size))
        except CorruptFileError as error:
            raise error if isinstance(error, GalleryError) else GalleryError(f"{error}; {RESTORE}") from error
        except OSError as error:
            raise_if_refused(self._path, error)
            raise GalleryError(f"cannot read {self._path}: {error.strerror or error}; {RESTORE}") from error


class NameCursor:
    """The ids and labels of a segment from a row to another, later ones later, a line in memory at a time."""

    def __init__(self, table: StoredTable) -> None:
        """Read nothing yet."""
        self._lines = table.lines()
        self._line: tuple[list[str], list[str]] = ([], [])
        self._first = 0  # row of the line's first name

    def between(self, start: int, stop: int) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the names of rows ``start`` to ``stop``, which were not passed yet.

        Raises:
            GalleryError: The file is missing, damaged, or of another length.
        """
        while start < stop:
            ids, labels = self._line
            if start < self._first + len(ids):
                piece = slice(start - self._first, stop - self._first)
                yield ids[piece], labels[piece]
                start = min(stop, self._first + len(ids))
            else:
                self._first += len(ids)
                self._line = next(self._lines)


def _parsed(line: bytes) -> tuple[list[str], list[str]]:
    value = json.loads(line)
    ids, labels = value["ids"], value["labels"]
    if len(ids) != len(labels) or not set(map(type, ids)) | set(map(type, labels)) <= {str}:
        raise ValueError(f"a line of {len(ids)} ids and {len(labels)} labels")
    return ids, labels


def _lines(names: Iterable[Names]) -> Iterator[bytes]:
    ids, labels = list[str](), list[str]()
    for more_ids, more_labels in names:
        for start in range(0, len(more_ids), _ROWS_PER_LINE):  # at most a line more: what is left over moves once
            ids += more_ids[start : start + _ROWS_PER_LINE]
            labels += more_labels[start : start + _ROWS_PER_LINE]
            if len(ids) > _ROWS_PER_LINE:
                yield _line(ids[:_ROWS_PER_LINE], labels[:_ROWS_PER_LINE]) + b"\n"
                del ids[:_ROWS_PER_LINE], labels[:_ROWS_PER_LINE]
    yield _line(ids, labels)


def _line(ids: list[str], labels: list[str]) -> bytes:
    # ASCII escapes keep ids that are no valid Unicode, such as undecodable file names.
    return json.dumps({"ids": ids, "labels": labels}).encode("ascii")
