"""What a name is - a file of some kind, a gallery folder, a collection - and its rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.digests import sha256_file
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.vectors import as_unit
from compat_sdk.kinds import instead_of, is_address
from compat_sdk.shown import shown_value
from compat_sdk.stores import Columns, Rows, Source
from compat_sdk.stores.addresses import parse_address
from compat_sdk.stores.faiss_file import open_faiss
from compat_sdk.stores.hnswlib_file import open_hnswlib
from compat_sdk.stores.npy import open_npy
from compat_sdk.stores.npz import open_npz
from compat_sdk.stores.parquet import ARROW_SUFFIXES, PARQUET_SUFFIXES, open_parquet
from compat_sdk.stores.qdrant import Collection
from compat_sdk.stores.rows import LABEL_NAME

Kind = Literal["parquet", "arrow", "npz", "npy", "faiss", "hnswlib"]
LENGTH_FIELD = "vector_length"
"""Field of a payload that keeps how long a vector was in the store that it came from."""

_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys(PARQUET_SUFFIXES, "parquet"),
    **dict.fromkeys(ARROW_SUFFIXES, "arrow"),
    ".npz": "npz",
    ".npy": "npy",
    ".faiss": "faiss",
    ".hnswlib": "hnswlib",
}
_TOLD = re.compile(rf"({'|'.join(get_args(Kind))}):(.+)", re.DOTALL)
_EXPECTED = (
    ".parquet, .npz, .arrow, .npy, .faiss or .hnswlib, such a kind before the name as in faiss:FILE, a gallery folder, "
    "or qdrant://HOST:PORT/COLLECTION"
)


@dataclass(frozen=True)
class Reading:
    """What a store does not say itself; what it would ignore is refused.

    Attributes:
        columns: Of Parquet and Arrow; the label is also a field of Qdrant's payloads.
        ids: File of one id per row, for ``.npy``; for faiss and hnswlib, of what their numbers stand for.
        labels: File of one label per row, for ``.npy``.
        sha256: Digest that a file must have, compared before anything parses it.
    """

    columns: Columns = field(default_factory=Columns)
    ids: Path | None = None
    labels: Path | None = None
    sha256: str | None = None

    def refuse_ignored(self, what: str, taken: set[str]) -> None:
        """Refuse what a store does not look at.

        Raises:
            ConfigError: Something of that is given.
        """
        given = {
            "--id-column": self.columns.id,
            "--vector-column": self.columns.vector,
            "--label-column": self.columns.label,
            "--payload or --no-payload": self.columns.payload,
            "--ids": self.ids,
            "--labels": self.labels,
            "--sha256": self.sha256,
        }
        for name, value in given.items():
            if value is not None and name not in taken:
                raise ConfigError(f"{name} means nothing to {what}; leave it out")


_TABLE = {"--id-column", "--vector-column", "--label-column", "--payload or --no-payload", "--sha256"}
_TAKES: dict[Kind, set[str]] = {
    "parquet": _TABLE,
    "arrow": _TABLE,
    "npz": {"--sha256"},
    "npy": {"--ids", "--labels", "--sha256"},
    "faiss": {"--ids", "--sha256"},
    "hnswlib": {"--ids", "--sha256"},
}


def kind_and_file(place: str | os.PathLike[str]) -> tuple[Kind, Path]:
    """The kind of a file by the end of its name, or by what is told before it as in ``faiss:FILE``.

    Raises:
        ConfigError: Neither tells.
    """
    text = os.fspath(place)
    told = _TOLD.fullmatch(text)
    if told is not None:
        return next(kind for kind in get_args(Kind) if kind == told[1]), Path(told[2])
    kind = _SUFFIXES.get(Path(text).suffix.lower())
    if kind is None:
        raise ConfigError(f"{text} is no table of vectors that is read here; expected {_EXPECTED}")
    return kind, Path(text)


@contextmanager
def open_source(place: str | os.PathLike[str], reading: Reading | None = None) -> Iterator[Source]:
    """The rows of a store, which can be read while the block runs.

    Args:
        place: A file, a gallery folder, or the address of a collection.
        reading: What it does not say itself.

    Raises:
        ConfigError: It is of no kind that is read, does not exist, or would ignore something that is told.
        CorruptFileError: It is damaged, or not of the form that its name says.
        StoreError: A collection is away.
        MissingExtraError: What reads it is not installed.
    """
    reading = reading or Reading()
    if is_address(place):
        reading.refuse_ignored("a collection", {"--label-column"})
        collection = Collection.connect(parse_address(place))
        try:
            yield _of_collection(collection, reading.columns.label or LABEL_NAME)
        finally:
            collection.close()
        return
    folder = Path(place)
    if (folder / "gallery.json").is_file():
        reading.refuse_ignored("a gallery folder", set())
        yield _of_folder(folder)
        return
    if folder.is_dir():
        raise ConfigError(instead_of("gallery", folder) or f"{folder} is a folder and no gallery; expected {_EXPECTED}")
    kind, path = kind_and_file(place)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist, or is no file; expected {_EXPECTED}")
    reading.refuse_ignored(f"{kind} files", _TAKES[kind])
    if reading.sha256 is not None and sha256_file(path) != reading.sha256.lower():
        raise CorruptFileError(f"{path} has another SHA-256 than --sha256 says; get it again from its maker")
    openers: dict[Kind, Callable[[], AbstractContextManager[Source]]] = {
        "parquet": lambda: open_parquet(path, reading.columns),
        "arrow": lambda: open_parquet(path, reading.columns, arrow_file=True),
        "npz": lambda: nullcontext(open_npz(path)),
        "npy": lambda: nullcontext(open_npy(path, reading.ids, reading.labels)),
        "hnswlib": lambda: nullcontext(open_hnswlib(path, reading.ids)),
        "faiss": lambda: open_faiss(path, reading.ids),
    }
    with openers[kind]() as source:
        yield source


def _of_collection(collection: Collection, label: str) -> Source:
    shape = collection.shape()
    if shape.unfinished:
        raise ConfigError(f"an export into {collection.address} did not end; run it again before it is read")
    return Source(
        str(collection.address),
        shape.dim,
        collection.count(),
        lambda: collection.scroll(label),
        space=shape.space,
        distance=shape.distance,
    )


def _of_folder(folder: Path) -> Source:
    """The rows of a gallery in one state, their vectors as long as they were where that is kept."""
    snapshot = load_snapshot(folder, True, names=False)
    imported = snapshot.state.model.get("imported")
    told = imported if isinstance(imported, dict) else {}
    kept = told.get("lengths") == "kept"

    def read() -> Iterator[Rows]:
        payload = read_payload(folder)
        for table, part in zip(snapshot.tables, snapshot.parts, strict=True):
            start = 0
            for ids, labels in table.lines():
                vectors = as_unit(part[start : start + len(ids)])
                start += len(ids)
                beside = [payload.get(id, {}) for id in ids]
                yield (
                    _lengthened(Rows.of(ids, vectors, labels, beside))
                    if kept
                    else Rows.of(ids, vectors, labels, beside)
                )

    return Source(
        str(folder),
        snapshot.state.dim,
        len(snapshot),
        read,
        space=snapshot.state.space,
        distance="dot" if kept else "cosine",
        id_type="integer" if told.get("ids") == "integer" else "string",
    )


def _lengthened(rows: Rows) -> Rows:
    """Rows as long as their payload says that they were, which that says no more."""
    lengths = [payload.get(LENGTH_FIELD, 1.0) for payload in rows.payload]
    for id, length in zip(rows.ids, lengths, strict=True):
        if isinstance(length, bool) or not isinstance(length, int | float) or length <= 0:
            raise CorruptFileError(f"{shown_value(id)} has the {LENGTH_FIELD} {shown_value(length)}; expected above 0")
    rest = [{key: value for key, value in payload.items() if key != LENGTH_FIELD} for payload in rows.payload]
    vectors = rows.vectors.copy()
    for row, length in enumerate(lengths):
        vectors[row] *= float(str(length))
    return Rows.of(rows.ids, vectors, rows.labels, rest)
