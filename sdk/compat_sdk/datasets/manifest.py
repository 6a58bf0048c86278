"""Datasets listed in a CSV file: columns ``path,label,split``, or ``path`` alone; or ``path,label``, to be divided."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from compat_sdk.datasets.split import SPLIT_NAMES, Dataset, Split, identity_name
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import as_unicode, shortened

MANIFEST = "compat-data.csv"
"""Name of the manifest of a folder that holds nothing else."""
_COLUMNS = ("path", "label", "split")
_SIDE, _SIDES = "side", ("query", "gallery", "")


def open_manifest(manifest: Path, root: Path | None = None) -> Dataset:
    """Returns the dataset of a CSV manifest; its ids are the paths as the file gives them.

    Without a column ``label`` its images have no identities, and without ``split`` too, all are to train on. A column
    ``side`` says of each row of ``val`` whether it stands for a ``query`` or for the ``gallery``; of others it says
    nothing.

    The file is UTF-8, with or without a byte-order mark; fields may be quoted; the columns may stand in
    any order and others may stand beside them. Paths have ``/`` between folders. They are absolute, or relative to
    ``root`` and do not leave it.

    Args:
        manifest: The file.
        root: Folder that relative paths begin in; the manifest's own if not given.

    Raises:
        DataError: A wrong column, split, path or row; the message gives the line.
    """
    rows = _rows(manifest, root, (set(), {"label"}, {"split", "label"}))
    present = {row[0] for row in rows}
    splits = {name: _split(name, [row for row in rows if row[0] == name]) for name in SPLIT_NAMES if name in present}
    name = manifest.resolve().parent.name if manifest.name == MANIFEST else manifest.stem
    return Dataset(name=name, splits=splits, description=f"images listed in {manifest.name}")


def open_labelled_list(manifest: Path, root: Path | None = None) -> Split:
    """Returns the pictures of a CSV file ``path,label``, which stand in no split yet, as one to train on.

    Raises:
        DataError: A wrong column, path or row; the message gives the line; or it has splits already.
    """
    if manifest.suffix.lower() != ".csv" or not manifest.is_file():
        raise DataError(
            f"found no folder and no .csv file {shortened(str(manifest))}; expected pictures with identities"
        )
    return _split("train", _rows(manifest, root, ({"split"},)))


_Row = tuple[str, Path, str, str, str]


def _split(name: str, rows: Sequence[_Row]) -> Split:
    images, labels, ids, sides = (tuple(row[place] for row in rows) for place in (1, 2, 3, 4))
    asks = tuple(side == "query" for side in sides) if name == "val" and any(sides) else None
    return Split(name, images, labels, ids, asks)  # type: ignore[arg-type]  # a row's places differ in type


def _rows(manifest: Path, root: Path | None, absent: Sequence[set[str]]) -> list[_Row]:
    """Split, place, label, path and side of each row; ``absent``: columns that may be missing, a set for each form."""
    folder = manifest.parent if root is None else root
    if root is not None and not root.is_dir():
        raise DataError(
            f"root is {root}, which is no folder; expected the folder that the paths of {manifest} begin in"
        )
    found: list[_Row] = []
    first_side: str | None = None
    line = 1
    try:
        with io.TextIOWrapper(open_plain(manifest), "utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = _places(manifest, header, absent)
            side_at = header.index(_SIDE) if _SIDE in header else None
            line = reader.line_num + 1
            for row in reader:
                if row:
                    if len(row) != len(header):
                        raise DataError(f"it has {len(row)} fields, expected {len(header)}; quote fields with commas")
                    path, label, split = (row[place] if isinstance(place, int) else place for place in places)
                    check_row(path, label if isinstance(places[1], int) else None, split)
                    side = "" if side_at is None or split != "val" else row[side_at]
                    if split == "val":
                        first_side = side if first_side is None else first_side
                        _check_side(side, first_side)
                    named = identity_name(label, f"line {line}") if label else ""  # of a manifest without labels
                    found.append((split, folder / path, named, path, side))
                line = reader.line_num + 1
    except DataError as error:
        if line == 1:
            raise
        raise DataError(f"{manifest} line {line}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(manifest, error)
        raise DataError(
            f"cannot read {manifest} at line {line}: {shortened(str(error))}; expected a UTF-8 CSV file"
        ) from error
    if not found:
        raise DataError(f"{manifest} lists no images; expected rows of {','.join(_COLUMNS)}")
    return found


def _places(manifest: Path, header: list[str], absent: Sequence[set[str]]) -> list[int | str]:
    """Where each column stands in a row, or the value that all rows have without it."""
    has = {column: header.count(column) for column in _COLUMNS}
    for found in header:
        meant = found.strip().lower()
        if found != meant and meant in (*_COLUMNS, _SIDE):
            raise DataError(
                f"{manifest} line 1 has the column {shortened(repr(found))}; write {meant}, or another name"
            )
    if max(has.values()) > 1 or {column for column in _COLUMNS if not has[column]} not in absent:
        forms = [",".join(column for column in _COLUMNS if column not in lacking) for lacking in absent]
        more = "" if len(forms) == 1 else f", or {' or '.join(forms[1:])} alone for images without labels"
        to_divide = "; `compat-sdk data split` divides path,label" if has["label"] and not has["split"] else ""
        raise DataError(
            f"{manifest} line 1 has the columns {shortened(','.join(header)) or 'nothing'}; expected "
            f"{forms[0]}{more}{to_divide}"
        )
    without = {"label": "", "split": "train"}
    return [header.index(column) if has[column] else without[column] for column in _COLUMNS]


def _check_side(side: str, first: str) -> None:
    """Refuse a side of a val row that is none, or where the first of them has one and this has not, or the reverse."""
    if side not in _SIDES or bool(first) != bool(side):
        raise DataError(
            f"found side {shortened(repr(side))} of a val image; expected query or gallery, of all of them or of none; "
            f"a column of another meaning needs another name"
        )


def check_row(path: str, label: str | None, split: str) -> None:
    """Refuse a row that no manifest may have; ``label`` is None where it has no such column.

    Raises:
        DataError: The split is unknown, the label empty, or the path is empty, leaves its folder, has a backslash or
            is no valid Unicode.
    """
    if split not in SPLIT_NAMES:
        raise DataError(f"found split {shortened(repr(split))}; expected one of {', '.join(SPLIT_NAMES)}")
    if label is not None and not label.strip():
        raise DataError("the label is empty; name the identity")
    if label is not None and "\0" in label:
        raise DataError(f"found label {shortened(repr(label))}; expected the name of an identity")
    if not path.strip() or "\0" in path:
        raise DataError(f"found path {shortened(repr(path))}; expected the path of an image")
    if as_unicode(path) != path:
        raise DataError(f"found path {shortened(repr(path))}, which is no valid UTF-8 as a CSV file is")
    if "\\" in path:
        raise DataError(f"found path {shortened(repr(path))}; write / between folders")
    absolute = Path(path).is_absolute()
    elsewhere = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive  # on another system
    if ".." in PurePosixPath(path).parts or (elsewhere and not absolute):
        raise DataError(
            f"found path {shortened(repr(path))}; expected an absolute path, or one that stays inside the manifest's "
            f"folder or --root"
        )
