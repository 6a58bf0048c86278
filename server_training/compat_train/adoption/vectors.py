"""A gallery model of which nothing is left but the vectors that it wrote, matched to pictures by their ids."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, CorruptFileError, DataError, MissingExtraError
from compat_sdk.files.plain import open_plain
from compat_sdk.gallery import Gallery
from compat_sdk.images import find_pictures
from compat_sdk.shown import shortened, shown_value
from compat_sdk.spelling import composed
from compat_sdk.unit import unit_rows
from compat_train.adoption.found import Found, Wanted, adopted_checkpoint
from compat_train.adoption.source import AdoptSource
from compat_train.models.adopted import VECTORS
from compat_train.runs.checkpoint import SPACE

_Table = tuple[tuple[str, ...], NDArray[np.float32], str | None]
"""Ids, one row ``[dim]`` for each, and the space that the table names; None where it names none."""

_RULES: tuple[tuple[str, Callable[[PurePosixPath], str]], ...] = (
    ("path", str),
    ("path without its ending", lambda path: str(path.with_suffix(""))),
    ("file name", lambda path: path.name),
    ("file name without its ending", lambda path: path.stem),
)
_ID_NAMES, _VECTOR_NAMES = ("id", "ids", "path", "filename", "image"), ("vector", "vectors", "embedding", "embeddings")
_SIZE = 224


def stored_vectors(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """The vectors of a table, each under the path of its picture below ``wanted.images``.

    Raises:
        ConfigError: No folder of pictures is told.
        DataError: No id is a picture's, ids are not distinct, or rows are not finite or of no length.
        CorruptFileError: The table is damaged or of another form.
        MissingExtraError: pyarrow is not installed, for a Parquet file.
    """
    assert source.file is not None
    if wanted.images is None:
        raise ConfigError("vectors:FILE needs --images, the folder of the pictures that they are of")
    ids, rows, space = _read_table(source.file)
    if len(set(ids)) != len(ids):
        repeated = Counter(ids).most_common(1)[0][0]
        raise DataError(f"{source.file} has the id {shown_value(repeated)} more than once; expected each once")
    unit = unit_rows(rows, f"rows of {source.file} have no direction", "leave them out, or embed their pictures again")
    paths, taken, rule = _matched(ids, wanted.images)
    names = np.frombuffer(json.dumps(paths, ensure_ascii=False).encode(), np.uint8).copy()
    preprocessing = wanted.over({"size": _SIZE})
    checkpoint = adopted_checkpoint(
        out=out,
        arch=VECTORS,
        dim=rows.shape[1],
        preprocessing=preprocessing,
        state={"vectors": torch.from_numpy(unit[taken]), "ids": torch.from_numpy(names)},
        wanted=wanted,
        network={} if space is None else {SPACE: space},
        origin={
            "kind": "vectors",
            "file": source.file.name,
            "matched_by": rule,
            "rows": len(ids),
            "matched": len(paths),
        },
    )
    return Found(checkpoint=checkpoint if space is None else replace(checkpoint, space=space), original=None)


def _read_table(path: Path) -> _Table:
    """Ids and vectors of a Parquet file, of an ``.npz`` with ``ids`` and ``vectors``, or of a gallery folder.

    Raises:
        ConfigError: It is none of them.
        CorruptFileError: It is damaged, or its columns are of another form.
        MissingExtraError: pyarrow is not installed, for a Parquet file.
    """
    if (path / "gallery.json").is_file():
        return _of_gallery(Gallery.open(path))
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; expected a .parquet or .npz file, or a gallery folder")
    if path.suffix == ".parquet":
        return _of_parquet(path)
    if path.suffix == ".npz":
        return _of_npz(path)
    raise ConfigError(f"{path} is no table of vectors that is read here; expected .parquet, .npz or a gallery folder")


def _of_gallery(gallery: Gallery) -> _Table:
    return gallery.ids, np.asarray(gallery.vectors, np.float32), gallery.space


def _of_npz(path: Path) -> _Table:
    try:
        with open_plain(path) as file, np.load(file, allow_pickle=False) as arrays:
            missing = {"ids", "vectors"} - set(arrays.files)
            if missing:
                raise CorruptFileError(
                    f"{path} lacks {', '.join(sorted(missing))}; expected the arrays ids and vectors"
                )
            ids, rows = arrays["ids"], arrays["vectors"]
    except (ValueError, OSError, EOFError, KeyError, SyntaxError) as error:
        raise CorruptFileError(f"{path} is no whole .npz file ({shortened(str(error), 100)})") from error
    if (
        ids.ndim != 1
        or ids.dtype.kind not in "UiuS"
        or rows.ndim != 2
        or rows.dtype.kind != "f"
        or len(ids) != len(rows)
    ):
        raise CorruptFileError(
            f"{path} has ids {ids.dtype} {list(ids.shape)} and vectors {rows.dtype} {list(rows.shape)}; expected texts "
            f"[n] and float32 [n, dim]"
        )
    texts = tuple(item.decode() if isinstance(item, bytes) else str(item) for item in ids.tolist())
    return texts, np.ascontiguousarray(rows, np.float32), None


def _of_parquet(path: Path) -> _Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(_whole(path)))
    except (pyarrow.ArrowException, OSError) as error:
        raise CorruptFileError(f"{path} is no whole Parquet file ({shortened(str(error), 100)})") from error
    lists = (pyarrow.types.is_list, pyarrow.types.is_large_list, pyarrow.types.is_fixed_size_list)
    vectors = [field.name for field in table.schema if any(is_list(field.type) for is_list in lists)]
    texts = [field.name for field in table.schema if field.name.lower() in _ID_NAMES]
    named = [name for name in vectors if name.lower() in _VECTOR_NAMES] or vectors
    if len(texts) != 1 or len(named) != 1:
        raise CorruptFileError(
            f"{path} has the columns {shortened(', '.join(table.schema.names), 120)}; expected one id column "
            f"({', '.join(_ID_NAMES)}) and one column of lists of numbers"
        )
    column: Any = table.column(named[0])
    if column.null_count or table.column(texts[0]).null_count:
        raise CorruptFileError(f"{path} has empty cells in {texts[0]} or {named[0]}; expected a vector for each id")
    rows = column.to_pylist()
    if len({len(row) for row in rows}) > 1:
        raise CorruptFileError(f"{path} has lists of unequal length in {named[0]}; expected one dimension")
    try:
        vectors_found = np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} has a list with something that is no number in {named[0]}") from error
    if vectors_found.ndim != 2:
        raise CorruptFileError(f"{path} has no rows; expected at least one")
    return tuple(str(value) for value in table.column(texts[0]).to_pylist()), vectors_found, None


def _whole(path: Path) -> bytes:
    with open_plain(path) as file:
        return io.BytesIO(file.read()).getvalue()


def _matched(ids: Sequence[str], images: Path) -> tuple[list[str], list[int], str]:
    """Paths of the pictures that have a vector, the vectors' rows, and what the ids are of a picture."""
    paths = [PurePosixPath(path.relative_to(images).as_posix()) for path in find_pictures(images).paths]
    if not paths:
        raise DataError(f"{images} holds no pictures; expected those that the vectors are of")
    place = {composed(name): row for row, name in enumerate(ids)}
    if len(place) < len(ids):
        raise DataError("two ids are one name in two Unicode spellings, accents composed or apart; rename one")
    counts = [sum(composed(name_of(path)) in place for path in paths) for _, name_of in _RULES]
    best = int(np.argmax(counts))
    rule, name_of = _RULES[best]
    if counts[best] == 0:
        raise DataError(
            f"none of the {len(ids)} ids (such as {shown_value(ids[0])}) is a picture of {images} (such as "
            f"{shown_value(str(paths[0]))}); expected paths below it, or file names, with or without their ending"
        )
    named = [(str(path), composed(name_of(path))) for path in paths]
    found = [(path, place[name]) for path, name in named if name in place]
    if len({row for _, row in found}) != len(found):
        raise DataError(f"several pictures of {images} share a {rule}, by which the vectors match; use paths as ids")
    return [path for path, _ in found], [row for _, row in found], rule
