"""Points of Qdrant and the rows that they are.

Ids of points are whole numbers and UUIDs. An id that is neither becomes a UUID that follows from it, and stands in the
point's payload as ``compat_id``. A label is the field ``label``. What an upgrade made a point of is ``compat_source``,
and the picture that it was embedded from ``compat_origin``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.shown import shortened, shown_value
from compat_sdk.stores.qdrant_client import client_module
from compat_sdk.stores.rows import LABEL_NAME, Distance, Rows, id_text, is_whole_number, payload_object

ID_FIELD, SOURCE_FIELD, ORIGIN_FIELD = "compat_id", "compat_source", "compat_origin"
_OURS = uuid.UUID("6c1b5b3e-3f0c-5f0e-9d0b-0d6f4f6a7a11")


@dataclass(frozen=True)
class Shape:
    """What a collection says of itself.

    Attributes:
        dim: Numbers per vector.
        distance: By what it compares.
        space: Embedding space of its vectors; None where nobody noted it.
        unfinished: Whether an export into it was begun and did not end.
        vector: Name of the vectors; empty for those without a name.
        note: What the collection's metadata say under ``compat_sdk``.
    """

    dim: int
    distance: Distance
    space: str | None
    unfinished: bool
    vector: str
    note: Mapping[str, Any] = field(default_factory=dict)


def point_id(id: str) -> int | str:
    """The id of the point that a text names: the whole number or UUID that it is, or a UUID that follows from it."""
    if is_whole_number(id, 0, 1 << 64):
        return int(id)
    try:
        if str(uuid.UUID(id)) == id:
            return id
    except ValueError:
        pass
    return str(uuid.uuid5(_OURS, id))


def points_of(rows: Rows, vector: str, sources: Sequence[str] | None) -> list[Any]:
    """The points of rows, for a collection whose vectors have this name, empty for none.

    Raises:
        DataError: An id or label is no valid Unicode, which JSON cannot carry.
    """
    points = []
    for row, (id, label) in enumerate(zip(rows.ids, rows.labels, strict=True)):
        _require_unicode(id)
        _require_unicode(label)
        numbers = rows.vectors[row].tolist()
        payload = {**rows.payload[row], **({LABEL_NAME: label} if label else {})}
        if str(point_id(id)) != id:
            payload[ID_FIELD] = id
        if sources is not None:
            payload[SOURCE_FIELD] = sources[row]
        which = {vector: numbers} if vector else numbers
        points.append(client_module().models.PointStruct(id=point_id(id), vector=which, payload=payload))
    return points


def point_names(point: Any, label: str = LABEL_NAME) -> tuple[str, str, dict[str, object]]:
    """Id, label and the rest of the payload of a point.

    Raises:
        CorruptFileError: Its label is no text and no number.
    """
    payload = dict(point.payload or {})
    payload.pop(SOURCE_FIELD, None)
    payload.pop(ORIGIN_FIELD, None)
    try:
        id = id_text(payload.pop(ID_FIELD, point.id))
        tag = payload.pop(label, None)
        return id, "" if tag is None else id_text(tag), payload_object(payload)
    except ValueError as error:
        raise CorruptFileError(
            f"point {point.id} of the collection: {shortened(str(error), 120)}; name another field for the label"
        ) from error


def rows_of(points: Sequence[Any], shape: Shape, label: str, *, vectors: bool) -> Rows:
    """The rows of points; without vectors these have no numbers.

    Raises:
        CorruptFileError: A point has no such vector, or a label that is none.
    """
    named = [point_names(point, label) for point in points]
    numbers = np.empty((len(points), shape.dim if vectors else 0), np.float32)
    for row, point in enumerate(points if vectors else ()):
        vector = point.vector.get(shape.vector) if isinstance(point.vector, Mapping) else point.vector
        if not isinstance(vector, list) or len(vector) != shape.dim:
            raise CorruptFileError(f"point {point.id} of the collection has no vector {shown_value(shape.vector)}")
        numbers[row] = vector
    return Rows([id for id, _, _ in named], numbers, [tag for _, tag, _ in named], [beside for _, _, beside in named])


def notes_of(field: str, values: Mapping[str, str]) -> list[Any]:
    """The steps that say something of points, by id, under a field that is ours."""
    models = client_module().models
    return [
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={field: value}, points=[point_id(id)]))
        for id, value in values.items()
    ]


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{shown_value(text)} is no valid Unicode, which this store cannot hold; rename it") from error
