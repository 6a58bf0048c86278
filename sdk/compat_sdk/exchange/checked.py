"""Rows as a gallery may hold them: finite, of length 1, in the dimension of all, under ids that occur once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from compat_sdk.errors import CorruptFileError, DataError, VectorError
from compat_sdk.exchange.place import LENGTH_FIELD
from compat_sdk.shown import shown_value
from compat_sdk.stores import Rows, Source

Lengths = Literal["refuse", "drop", "keep"]
"""What becomes of vectors that are not of length 1: refused; divided by it; divided, and the length kept beside."""

_TOLERANCE = 1e-3


def checked_rows(source: Source, lengths: Lengths) -> Iterator[Rows]:
    """Yield the rows of a source as a gallery may hold them.

    Raises:
        VectorError: A row is not finite, has no direction, or is not of length 1 where that is refused.
        DataError: An id is empty; or the store has other rows than it said, since somebody wrote to it meanwhile.
        CorruptFileError: Rows are of another dimension than the source's.
    """
    start = 0
    for rows in source.read():
        if rows.vectors.shape != (len(rows), source.dim):
            raise CorruptFileError(f"{source.what} has rows of {rows.vectors.shape[-1]} numbers, expected {source.dim}")
        if "" in rows.ids:
            raise DataError(f"{source.what} has an empty id in row {start + list(rows.ids).index('')}; name every row")
        yield _of_length_1(source, rows, start, lengths)
        start += len(rows)
    if start != source.rows:
        raise DataError(
            f"{source.what} had {source.rows} rows and gave {start}; somebody writes to it: try again when that ends"
        )


def _of_length_1(source: Source, rows: Rows, start: int, lengths: Lengths) -> Rows:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", rows.vectors, rows.vectors, dtype=np.float64))
    finite = np.isfinite(rows.vectors).all(axis=1)
    for wrong, what, advice in (
        (~finite, "NaN or infinity", "leave such rows out, or embed their images again"),
        (
            finite & (norms < np.finfo(np.float32).tiny),
            "only zeros",
            "leave such rows out, or embed their images again",
        ),
        (
            (np.abs(norms - 1) > _TOLERANCE) & (lengths == "refuse"),
            "another length than 1",
            "--lengths drop divides by it, --lengths keep also keeps it beside the row",
        ),
    ):
        if wrong.any():
            places = np.flatnonzero(wrong)
            raise VectorError(
                f"{source.what}: the vector of {shown_value(rows.ids[places[0]])} (row {start + int(places[0])}) has "
                f"{what}{f' ({norms[places[0]]:.4g})' if 'length' in what else ''}; {advice}",
                (start + places).tolist(),
            )
    if lengths == "refuse":
        return rows
    vectors = (rows.vectors / norms[:, None]).astype(np.float32)
    if lengths == "drop":
        return Rows.of(rows.ids, vectors, rows.labels, rows.payload)
    payload = [{**beside, LENGTH_FIELD: float(norm)} for beside, norm in zip(rows.payload, norms, strict=True)]
    return Rows.of(rows.ids, vectors, rows.labels, payload)


class SeenIds:
    """Whether an id came twice, in 16 bytes for each."""

    def __init__(self) -> None:
        """None yet."""
        self._digests = bytearray()

    def add(self, ids: Iterable[str]) -> None:
        """Note the ids of the next rows."""
        for id in ids:
            self._digests += hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def repeated(self) -> tuple[int, int] | None:
        """The first two rows, from 0, that have one id; None where all ids differ."""
        pairs = np.frombuffer(self._digests, np.dtype([("high", ">u8"), ("low", ">u8")]))
        order = np.argsort(pairs, order=("high", "low"), kind="stable")
        same = np.flatnonzero(pairs[order][1:] == pairs[order][:-1])
        if not len(same):
            return None
        found = [(int(order[place]), int(order[place + 1])) for place in same]
        return min(found, key=lambda pair: pair[1])


def require_once(seen: SeenIds, what: str, names: Iterable[tuple[Sequence[str], object]]) -> None:
    """Refuse ids that occur more than once.

    Args:
        seen: All ids, in their order.
        what: What holds them, for the message.
        names: The same ids again, in pieces.

    Raises:
        DataError: There is such an id; the message names its first two rows.
    """
    repeated = seen.repeated()
    if repeated is None:
        return
    first, second = repeated
    row, name = 0, ""
    for ids, _ in names:
        if first < row + len(ids):
            name = ids[first - row]
            break
        row += len(ids)
    raise DataError(
        f"{what} has the id {shown_value(name)} more than once (rows {first} and {second}); expected each once"
    )
