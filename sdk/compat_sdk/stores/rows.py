"""Rows of a store that is not ours, in the one form into which every store is read."""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.files.documents import check_plain
from compat_sdk.shown import shown_value

Distance = Literal["cosine", "dot", "l2"]
"""By what a store compares: the cosine, the inner product, or the Euclidean distance."""

IdType = Literal["string", "integer"]
"""What ids are in their store; here they are texts, integers in decimal."""

ROWS_PER_BLOCK = 8192
_LAST_CHARACTER = 0x10FFFF


@dataclass(frozen=True, eq=False)
class Rows:
    """Consecutive rows of a store, as they lie there.

    Attributes:
        ids: One text per row.
        vectors: float32 ``[n, dim]``, of any length and not checked for NaN.
        labels: One text per row, empty where there is none.
        payload: One object per row of what JSON can carry, empty where there is none.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    labels: Sequence[str]
    payload: Sequence[Mapping[str, object]]

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        vectors: NDArray[Any],
        labels: Sequence[str] | None = None,
        payload: Sequence[Mapping[str, object]] | None = None,
    ) -> Rows:
        """Rows of numbers of any width; labels and payload are empty where they are not given."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
            numbers = np.ascontiguousarray(vectors, np.float32)
        count = len(ids)
        return cls(ids, numbers, labels or [""] * count, payload or [{}] * count)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Source:
    """A store of vectors that can be read, from its beginning, any number of times.

    Attributes:
        what: How messages call it; without any key.
        dim: Numbers per vector.
        rows: How many there are.
        read: Yields all rows, a block of bounded size at a time.
        space: The embedding space that the store itself names; None where it names none.
        distance: By what it compares; None where it does not say.
        id_type: What its ids are.
    """

    what: str
    dim: int
    rows: int
    read: Callable[[], Iterator[Rows]]
    space: str | None = None
    distance: Distance | None = None
    id_type: IdType = "string"


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what; None for those with the usual names.

    Attributes:
        id: Texts, integers or UUIDs; by default the one column of the names in `ID_NAMES`.
        vector: Lists of numbers; by default the only such column, or the one of the names in `VECTOR_NAMES`.
        label: Texts or integers; by default ``label`` where there is one.
        payload: What is kept beside each row; by default every other column.
    """

    id: str | None = None
    vector: str | None = None
    label: str | None = None
    payload: tuple[str, ...] | None = None


ID_NAMES = ("id", "ids", "path", "filename", "image")
VECTOR_NAMES = ("vector", "vectors", "embedding", "embeddings")
LABEL_NAME, SPACE_NAME, PAYLOAD_NAME = "label", "space", "payload"


def is_whole_number(text: str, low: int, high: int) -> bool:
    """Whether a text is a whole number from ``low`` to below ``high``, both of at most 64 bits, as Python writes it."""
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and len(digits) <= 20
    return plain and str(int(text)) == text and low <= int(text) < high


def id_text(value: object) -> str:
    """An id as a text: integers in decimal, UUIDs with dashes, bytes as UTF-8.

    Raises:
        ValueError: It is nothing that names a row.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, bool) or not isinstance(value, str | int | uuid.UUID | np.integer):
        raise ValueError(f"{shown_value(value)} is no id; expected a text, an integer or a UUID")
    return str(value)


def array_texts(array: NDArray[Any]) -> list[str]:
    """Texts, integers or bytes of an array of one dimension, each as `id_text` says.

    Raises:
        ValueError: It holds bytes that are no UTF-8, or numbers that are no characters, which crash who reads them.
    """
    if array.dtype.kind == "U" and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max(initial=0) > _LAST_CHARACTER:
            raise ValueError("it holds numbers that are no characters")
    return [id_text(value) for value in array.tolist()]


def _payload_value(value: object) -> object:
    """A value as JSON has it: times in ISO form, decimals as texts, bytes in base64, NaN as null.

    Raises:
        ValueError: JSON has no form for it.
    """
    if isinstance(value, Mapping):
        return {str(key): _payload_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_payload_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    raise ValueError(f"{shown_value(value)} is a {type(value).__name__}, for which JSON has no form")


def payload_object(values: Mapping[str, object]) -> dict[str, object]:
    """The values of a row that are there, as JSON has them.

    Raises:
        ValueError: JSON has no form for one, or not every reader would understand it, see
            `compat_sdk.files.documents.check_plain`.
    """
    try:
        given = {name: found for name, value in values.items() if (found := _payload_value(value)) is not None}
    except RecursionError:
        raise ValueError("the payload of a row is nested too deeply") from None
    check_plain(given)
    return given
