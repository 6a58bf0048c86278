"""The ids and labels of a gallery on disk: one table per segment, a line of JSON for every 65,536 rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from compat_sdk.errors import GalleryError
from compat_sdk.files import open_plain, raise_if_refused
from compat_sdk.gallery.files import RESTORE, Segment, StoredFile, problem_with, write_new
from compat_sdk.shown import shortened

Names = tuple[Sequence[str], Sequence[str]]
"""The ids and labels of consecutive rows."""

_ROWS_PER_LINE = 65536


def write_table(folder: Path, generation: int, names: Iterable[Names], rows: int) -> StoredFile:
    """Write the ids and labels of a segment of this many rows: one JSON object per line and 65,536 rows.

    With one line it is the JSON file of earlier releases; with more its name says so, and they refuse it.
    """
    suffix = ".json" if rows <= _ROWS_PER_LINE else ".jsonl"
    return write_new(folder, "rows", generation, suffix, _lines(names))


def read_names(folder: Path, segment: Segment) -> Iterator[tuple[list[str], list[str]]]:
    """Read the ids and labels of a segment, a line of its table at a time, after comparing the file's digest.

    Raises:
        GalleryError: The file is missing, damaged, or of another length.
    """
    path, rows = folder / segment.table.name, 0
    problem = problem_with(folder, segment.table)
    if problem:
        raise GalleryError(f"{problem}; {RESTORE}")
    try:
        with open_plain(path) as file:
            for line in file:
                value = json.loads(line)
                ids, labels = value["ids"], value["labels"]
                if len(ids) != len(labels) or not set(map(type, ids)) | set(map(type, labels)) <= {str}:
                    raise ValueError(f"a line of {len(ids)} ids and {len(labels)} labels")
                rows += len(ids)
                yield ids, labels
        if rows != segment.rows:
            raise ValueError(f"{rows} rows")
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {RESTORE}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GalleryError(
            f"{path} does not list {segment.rows} ids and labels ({shortened(repr(error))}); {RESTORE}"
        ) from error


class NameCursor:
    """The ids and labels of a segment from a row to another, later ones later, a line in memory at a time."""

    def __init__(self, folder: Path, segment: Segment) -> None:
        """Read nothing yet."""
        self._lines = read_names(folder, segment)
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
