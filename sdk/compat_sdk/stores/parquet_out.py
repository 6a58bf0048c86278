"""Parquet files written a block of rows at a time; needs the extra ``parquet``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

from compat_sdk.errors import DataError
from compat_sdk.files.documents import canonical_json
from compat_sdk.shown import shown_value
from compat_sdk.stores.parquet import NOTE, arrow
from compat_sdk.stores.rows import LABEL_NAME, PAYLOAD_NAME, Rows


def write_parquet(file: BinaryIO, rows: Iterable[Rows], dim: int, space: str, *, integers: bool) -> None:
    """Write rows as the columns ``id``, ``vector``, ``label`` and ``payload``, which is text of JSON.

    The space stands in the file's own metadata, where `compat_sdk.stores.parquet` finds it.

    Args:
        file: Open for writing.
        rows: All of them.
        dim: Numbers per vector.
        space: Embedding space of the vectors.
        integers: Whether the ids are written as whole numbers of 64 bits.

    Raises:
        DataError: A text is no valid Unicode, which Parquet cannot hold.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = arrow()
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64() if integers else pyarrow.string()),
            ("vector", pyarrow.list_(pyarrow.float32(), dim)),
            (LABEL_NAME, pyarrow.string()),
            (PAYLOAD_NAME, pyarrow.string()),
        ],
        metadata={NOTE: canonical_json({"space": space})},
    )
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for block in rows:
            ids = pyarrow.array([int(id) for id in block.ids], pyarrow.int64()) if integers else _texts(block.ids)
            vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.vectors.ravel()), dim)
            payload = [json.dumps(dict(values)) if values else None for values in block.payload]
            columns = [ids, vectors, _texts([label or None for label in block.labels]), _texts(payload)]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))


def _texts(values: Iterable[str | None]) -> Any:
    found = list(values)
    try:
        return arrow().array(found, arrow().string())
    except UnicodeEncodeError as error:
        wrong = next(value for value in found if value is not None and not _is_unicode(value))
        raise DataError(f"{shown_value(wrong)} is no valid Unicode, which Parquet cannot hold; rename it") from error


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
