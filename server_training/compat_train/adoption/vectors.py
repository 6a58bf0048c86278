"""A gallery model of which nothing is left but the vectors that it wrote, matched to pictures by their ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.exchange import read_table
from compat_sdk.images import find_pictures
from compat_sdk.shown import shown_value
from compat_sdk.spelling import composed
from compat_sdk.unit import unit_rows
from compat_train.adoption.found import Found, Wanted, adopted_checkpoint
from compat_train.adoption.source import AdoptSource
from compat_train.models.adopted import VECTORS
from compat_train.runs.checkpoint import SPACE

_RULES: tuple[tuple[str, Callable[[PurePosixPath], str]], ...] = (
    ("path", str),
    ("path without its ending", lambda path: str(path.with_suffix(""))),
    ("file name", lambda path: path.name),
    ("file name without its ending", lambda path: path.stem),
)
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
    table = read_table(source.file)
    ids, rows, space = table.ids, table.vectors, table.space
    unit = unit_rows(rows, f"rows of {source.file} have no direction", "leave them out, or embed their pictures again")
    paths, taken, rule = _matched(ids, wanted.images)
    # A path that is no valid Unicode stands there by JSON's own escapes.
    text = json.dumps(paths, ensure_ascii=False).encode("utf-8", "backslashreplace")
    names = np.frombuffer(text, np.uint8).copy()
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
