"""Datasets listed in a CSV file with the columns ``path,label,split``, or ``path`` alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath, PureWindowsPath

from compat_sdk.datasets.split import SPLIT_NAMES, Dataset, Split, identity_name
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files import open_plain, raise_if_refused
from compat_sdk.shown import shortened

_COLUMNS = ("path", "label", "split")


def open_manifest(manifest: Path) -> Dataset:
    """Returns the dataset of a CSV manifest; its ids are the paths as the file gives them.

    Without a column ``label`` its images have no identities, and without ``split`` too, all are to train on.

    The file is UTF-8, with or without a byte-order mark; fields may be quoted; the columns may stand in
    any order and others may stand beside them. Paths are relative to the manifest's folder, with ``/``, and
    do not leave it: a manifest may come from elsewhere and must not name files outside the dataset.

    Raises:
        DataError: A wrong column, split, path or row; the message gives the line.
    """
    folder = manifest.parent
    paths: dict[str, list[Path]] = {}
    labels: dict[str, list[str]] = {}
    ids: dict[str, list[str]] = {}
    line = 1
    try:
        with io.TextIOWrapper(open_plain(manifest), "utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = _places(manifest, header)
            line = reader.line_num + 1
            for row in reader:
                if row:
                    if len(row) != len(header):
                        raise DataError(f"it has {len(row)} fields, expected {len(header)}; quote fields with commas")
                    path, label, split = (row[place] if isinstance(place, int) else place for place in places)
                    _check_row(path, label if isinstance(places[1], int) else None, split)
                    paths.setdefault(split, []).append(folder / path)
                    labels.setdefault(split, []).append(identity_name(label, f"line {line}"))
                    ids.setdefault(split, []).append(path)
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
    if not paths:
        raise DataError(f"{manifest} lists no images; expected rows of {','.join(_COLUMNS)}")
    splits = {
        name: Split(name, tuple(paths[name]), tuple(labels[name]), tuple(ids[name]))
        for name in SPLIT_NAMES
        if name in paths
    }
    return Dataset(name=manifest.stem, splits=splits, description=f"images listed in {manifest.name}")


def _places(manifest: Path, header: list[str]) -> list[int | str]:
    """Where each column stands in a row, or the value that all rows have without it."""
    has = {column: header.count(column) for column in _COLUMNS}
    if has["path"] != 1 or max(has.values()) > 1 or (has["label"] and not has["split"]):
        raise DataError(
            f"{manifest} line 1 has the columns {shortened(','.join(header)) or 'nothing'}; expected "
            f"{','.join(_COLUMNS)}, or path,split or path alone for images without labels"
        )
    without = {"label": "", "split": "train"}
    return [header.index(column) if has[column] else without[column] for column in _COLUMNS]


def _check_row(path: str, label: str | None, split: str) -> None:
    if split not in SPLIT_NAMES:
        raise DataError(f"found split {shortened(repr(split))}; expected one of {', '.join(SPLIT_NAMES)}")
    if label is not None and not label.strip():
        raise DataError("the label is empty; name the identity")
    if not path.strip() or "\0" in path:
        raise DataError(f"found path {shortened(repr(path))}; expected the path of an image")
    if "\\" in path:
        raise DataError(f"found path {shortened(repr(path))}; write / between folders")
    parts = PurePosixPath(path)
    if parts.is_absolute() or PureWindowsPath(path).drive or ".." in parts.parts:
        raise DataError(
            f"found path {shortened(repr(path))}; expected a path relative to the manifest's folder that stays inside "
            f"it; move the images beside the manifest"
        )
