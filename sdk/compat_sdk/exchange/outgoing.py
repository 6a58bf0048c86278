"""A gallery's rows in a file or collection that is new: whole, or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from compat_sdk.arrays import new_array
from compat_sdk.errors import CompatError, ConfigError, DataError
from compat_sdk.exchange.place import Kind, kind_and_file, open_source
from compat_sdk.files.atomic import make_folder, replacing
from compat_sdk.files.digests import sha256_file
from compat_sdk.kinds import is_address
from compat_sdk.outputs import require_place
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_value
from compat_sdk.space import check_space, require_space
from compat_sdk.stores import Rows, Source
from compat_sdk.stores.addresses import QdrantAddress, parse_address
from compat_sdk.stores.native import LABELS, VECTORS, write_engine_file
from compat_sdk.stores.npy import write_texts
from compat_sdk.stores.npz import write_npz
from compat_sdk.stores.parquet_out import write_parquet
from compat_sdk.stores.qdrant import UPGRADE, Collection, collection_for
from compat_sdk.stores.rows import is_whole_number

_MOST = 1 << 63
_NOT_HELD: dict[Kind, tuple[str, ...]] = {
    "npz": ("payload",),
    "faiss": ("labels", "payload"),
    "hnswlib": ("labels", "payload"),
}


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        to: The file or collection; an address without its key.
        rows: How many there are in it.
        space: Embedding space of the vectors.
        left_out: What the rows had and such a place cannot hold: ``labels``, ``payload``.
        sha256: Digest of the file; None of a collection.
    """

    to: str
    rows: int
    space: str
    left_out: tuple[str, ...]
    sha256: str | None


def export_gallery(
    place: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    space: str | None = None,
    ids: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the rows of a gallery to a new place.

    Vectors whose lengths an import kept are written with them; then a collection compares by inner product.

    Args:
        place: A gallery folder, or the address of a collection.
        to: ``.parquet``, ``.npz``, ``.faiss`` or ``.hnswlib``; or the address of a collection.
        space: The space of the vectors; needed where a collection names none.
        ids: File ``.npy`` for the ids, which faiss and hnswlib number; needed there unless all ids are whole numbers.
        progress: Told how many rows are out.

    Raises:
        ConfigError: A place is of no kind that is written, or is taken; or a setting is not of its range.
        IncompatibleSpaceError: The gallery is in another space than is told.
        DataError: An id, label or payload cannot be held there.
        StoreError: A collection is away, or refuses.
        MissingExtraError: What writes it is not installed.
        CompatError: The disk is full or the folder cannot be written.
    """
    with open_source(place) as source:
        if source.space is not None:
            require_space(source.what, source.space, space)
        named = source.space or space
        if named is None:
            raise ConfigError(f"{source.what} does not say in which space its vectors are; tell it, as --space NAME")
        check_space(named)
        if is_address(to):
            if ids is not None:
                raise ConfigError("--ids means nothing to a collection, which holds ids of any kind; leave it out")
            return _into_collection(source, parse_address(to), named, progress)
        kind, path = kind_and_file(to)
        if kind in ("arrow", "npy"):
            raise ConfigError(f"{path} is of a kind that is not written; expected .parquet, .npz, .faiss, .hnswlib")
        if ids is not None and kind not in ("faiss", "hnswlib"):
            raise ConfigError(f"--ids means nothing to {kind} files, which hold ids of any kind; leave it out")
        for new in (path, None if ids is None else Path(ids)):
            if new is not None:
                _require_new(new)
        try:
            return _into_file(source, kind, path, named, None if ids is None else Path(ids), progress)
        except OSError as error:
            raise CompatError(
                f"cannot write {path}: {error.strerror or error}; nothing is left there; make room or set permissions"
            ) from error


def _require_new(path: Path) -> None:
    require_place(path)
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists; expected the name of a new file: choose another, or delete it")


def _told(rows: Iterator[Rows], total: int, progress: Progress | None, had: set[str]) -> Iterator[Rows]:
    """The same rows, while it is told how many went by and noted what they have."""
    done = 0
    for block in rows:
        done += len(block)
        if any(block.labels):
            had.add("labels")
        if any(block.payload):
            had.add("payload")
        if progress is not None:
            progress("exporting", done, total, {})
        yield block


def _into_file(
    source: Source, kind: Kind, path: Path, space: str, ids: Path | None, progress: Progress | None
) -> Exported:
    had: set[str] = set()
    rows = _told(source.read(), source.rows, progress, had)
    integers = source.id_type == "integer" and _all_integers(source)
    make_folder(path.parent)
    if kind in ("parquet", "npz"):

        def write(file: BinaryIO) -> None:
            if kind == "parquet":
                write_parquet(file, rows, source.dim, space, integers=integers)
            else:
                write_npz(file, rows, (source.rows, source.dim), space, integers=integers)

        _written(path, write)
    else:
        _into_engine(source, rows, kind, path, ids)
    left_out = tuple(name for name in _NOT_HELD.get(kind, ()) if name in had)
    return Exported(str(path), source.rows, space, left_out, sha256_file(path))


def _written(path: Path, write: Callable[[BinaryIO], None]) -> None:
    with replacing(path) as file:
        write(file)
        _require_new(path)  # made by somebody meanwhile


def _all_integers(source: Source) -> bool:
    """Whether every id is a whole number of 64 bits, written as Python writes it."""
    return all(is_whole_number(id, -_MOST, _MOST) for rows in source.read() for id in rows.ids)


def _into_engine(source: Source, rows: Iterator[Rows], kind: Kind, path: Path, ids: Path | None) -> None:
    """Write an index file of faiss or hnswlib by a process of its own, which is given the vectors in a file."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as name:
        folder = Path(name)
        vectors = new_array(folder / VECTORS, (source.rows, source.dim))
        names, start = list[str](), 0
        for block in rows:
            vectors[start : start + len(block)] = block.vectors
            start += len(block)
            names += block.ids
        del vectors  # which writes it
        if ids is None:
            wrong = next((id for id in names if not is_whole_number(id, 0, _MOST)), None)
            if wrong is not None:
                raise DataError(
                    f"{shown_value(wrong)} is no whole number, and {kind} knows no other ids; name a file for them, as "
                    f"--ids FILE.npy, and rows are numbered"
                )
        numbers = np.arange(len(names)) if ids is not None else np.array([int(id) for id in names], np.int64)
        np.save(folder / LABELS, numbers)
        write_engine_file(kind, folder / VECTORS, folder / LABELS, folder / "made", source.dim, source.rows)
        if ids is not None:
            write_texts(ids, names)
        try:
            with (folder / "made").open("rb+") as file:
                os.fsync(file.fileno())
            _require_new(path)
            (folder / "made").replace(path)
        except BaseException:
            if ids is not None:
                ids.unlink(missing_ok=True)
            raise


def _into_collection(source: Source, address: QdrantAddress, space: str, progress: Progress | None) -> Exported:
    """Fill a collection of its own name, to which the name that was asked for is an alias: an upgrade moves that."""
    alias = Collection.connect(address, new=True)
    collection = alias.named(collection_for(address.collection, space))
    try:
        for taken in (alias, collection):
            if taken.exists():
                if not taken.shape().unfinished or UPGRADE in taken.shape().note:
                    raise ConfigError(f"{taken.address} exists; expected the name of a new collection: choose another")
                taken.drop()  # of an export that was killed
        collection.create(source.dim, source.distance or "cosine")
        try:
            for block in _told(source.read(), source.rows, progress, set()):
                collection.upsert(block)
            collection.lead(address.collection)
            collection.finish(space)
        except BaseException:
            with suppress(CompatError):
                collection.drop()
            raise
        return Exported(str(address), source.rows, space, (), None)
    finally:
        alias.close()
