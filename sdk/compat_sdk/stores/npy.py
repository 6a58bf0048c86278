"""An ``.npy`` file of vectors beside a file that names its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from compat_sdk.arrays import read_array, save_array
from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.stores.rows import ROWS_PER_BLOCK, IdType, Rows, Source, array_texts


def open_npy(path: Path, ids: Path | None, labels: Path | None) -> Source:
    """The vectors of an ``.npy`` file ``[n, dim]`` of floats, which is mapped, never read whole.

    Args:
        path: The file.
        ids: File with one id per row, see `read_texts`; None where the row numbers are the ids.
        labels: File with one label per row, of the same forms; None for no labels.

    Raises:
        ConfigError: A file of texts is of no form that is read.
        CorruptFileError: A file is missing or damaged, or they differ in length.
    """
    array = read_array(path, mapped=True)
    if array.ndim != 2 or array.dtype.kind != "f" or 0 in array.shape:
        raise CorruptFileError(f"{path} holds {array.dtype} {list(array.shape)}; expected floats [n, dim]")
    names, id_type = _numbers(len(array)) if ids is None else _as_many(ids, len(array), path)
    tags = None if labels is None else _as_many(labels, len(array), path)[0]

    def read() -> Iterator[Rows]:
        for start in range(0, len(array), ROWS_PER_BLOCK):
            block = slice(start, min(start + ROWS_PER_BLOCK, len(array)))
            yield Rows.of(names[block], array[block], None if tags is None else tags[block])

    return Source(str(path), array.shape[1], len(array), read, id_type=id_type)


def read_texts(path: Path) -> tuple[list[str], IdType]:
    """One text per row: an ``.npy`` file of texts or integers, or a ``.txt`` file of a line each, in UTF-8.

    A byte-order mark before the first line is no part of it.

    Raises:
        ConfigError: Its name ends otherwise.
        CorruptFileError: It is missing, or holds something else.
    """
    if path.suffix.lower() == ".npy":
        array = read_array(path)
        if array.ndim != 1 or array.dtype.kind not in "UiuS":
            raise CorruptFileError(f"{path} holds {array.dtype} {list(array.shape)}; expected texts or integers [n]")
        try:
            return array_texts(array), "integer" if array.dtype.kind in "iu" else "string"
        except ValueError as error:
            raise CorruptFileError(f"{path} holds bytes that are no text; expected texts") from error
    if path.suffix.lower() != ".txt":
        raise ConfigError(f"{path} is no file of texts that is read here; expected .npy, or .txt with a line per row")
    try:
        with open_plain(path) as file:
            lines = file.read().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} is not UTF-8; expected a line of text per row") from error
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)], "string"


def _numbers(rows: int) -> tuple[list[str], IdType]:
    return [str(row) for row in range(rows)], "integer"


def _as_many(path: Path, rows: int, beside: Path) -> tuple[list[str], IdType]:
    texts, kind = read_texts(path)
    if len(texts) != rows:
        raise CorruptFileError(f"{path} has {len(texts)} texts, and {beside} {rows} rows; expected one per row")
    return texts, kind


def write_texts(path: Path, texts: Sequence[str]) -> None:
    """Write one text per row as `read_texts` reads it, in an ``.npy`` file; whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    save_array(path, np.array(list(texts), np.str_))
