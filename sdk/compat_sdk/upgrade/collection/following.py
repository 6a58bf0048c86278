"""The new collection follows the old one: what was added, changed or removed there, at any time and again.

Each transformed point keeps a digest of what it was made of: vector, label and payload. So a pass transforms what is
new or another alone, however often it is stopped, and a point that a writer put into the new collection is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError, StateError
from compat_sdk.files.documents import canonical_json
from compat_sdk.gallery import Gallery
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_value
from compat_sdk.stores import Rows
from compat_sdk.stores.qdrant import Collection
from compat_sdk.upgrade.opener import Transformer
from compat_sdk.upgrade.shard import transformed_rows

Absent = Literal["refuse", "take", "leave"]
"""What becomes of rows that may have been added to the old collection, or removed from the new one."""

_SAME = 1 - 1e-5
"""Cosine from which a stored row and the same row transformed now are one: a store may normalise its vectors anew."""


@dataclass(frozen=True, eq=False)
class Followed:
    """What a pass did.

    Attributes:
        rows: Rows of the old collection that it saw.
        changed: Those that it transformed, since the new one had none or another of them.
        removed: Rows that it deleted from the new one, since they are gone from the old one.
        ids: A number of 64 bits for the id of each row that it saw.
        contents: Such a number for each row with its content.
    """

    rows: int
    changed: int
    removed: int
    ids: NDArray[np.uint64]
    contents: NDArray[np.uint64]


def follow(
    old: Collection,
    new: Collection,
    transform: Transformer,
    side: Gallery | None,
    *,
    since: Followed | None = None,
    progress: Progress | None = None,
) -> Followed:
    """Bring the new collection to the state of the old one.

    Args:
        old: Of the old space.
        new: Of the new one.
        transform: From the one to the other.
        side: Side-information of the same ids; None where the transform takes none.
        since: The pass before a cutover, after which the new collection has writers of its own: what that pass saw and
            these removed stays away, and what they put there is left alone. None before a cutover.
        progress: Told how many rows were seen.

    Raises:
        DataError: A row has no side-information.
        VectorError: A row cannot be transformed.
        StoreError: The store is away or refuses.
    """
    total, rows, changed = old.count(), 0, 0
    ids, contents = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for block in old.scroll():
        brought = bring(block, new, transform, side, since=since)
        ids.append(brought.ids)
        contents.append(brought.contents)
        rows, changed = rows + len(block), changed + brought.changed
        if progress is not None:
            progress("transform", rows, max(total, rows), {})
    return Followed(rows, changed, remove_gone(old, new), np.concatenate(ids), np.concatenate(contents))


def bring(
    block: Rows, new: Collection, transform: Transformer, side: Gallery | None, *, since: Followed | None = None
) -> Followed:
    """Bring the new collection to the state of some rows of the old one; see `follow`. Nothing is removed."""
    made_of = [_digest(block, row) for row in range(len(block))]
    ids = np.array([_mark(id) for id in block.ids], np.uint64)
    contents = np.array([int(digest[:16], 16) for digest in made_of], np.uint64)
    known = new.sources(block.ids)
    chosen = [row for row, id in enumerate(block.ids) if known.get(id) != made_of[row]]
    if since is not None:
        fresh, seen = ~np.isin(contents, since.contents), np.isin(ids, since.ids)
        chosen = [row for row in chosen if fresh[row] and (known.get(block.ids[row]) or not seen[row])]
        chosen = [row for row in chosen if known.get(block.ids[row]) != ""]
    differing, made = _differing(block, chosen, new, transform, side)
    if differing:
        new.upsert(made, [made_of[row] for row in differing])
    return Followed(len(block), len(differing), 0, ids, contents)


def follow_again(
    old: Collection,
    new: Collection,
    transform: Transformer,
    side: Gallery | None,
    absent: Absent,
    progress: Progress | None = None,
) -> Followed:
    """The pass after a cutover, where the process that knew the pass before it was killed.

    What writers put into the new collection is left alone. A row of the old one that the new one has not was added
    before the step and not taken along, or removed since the step; nobody can tell which.

    Args:
        old: Of the old space.
        new: Of the new one, which is searched.
        transform: From the one to the other.
        side: Side-information of the same ids; None where the transform takes none.
        absent: What becomes of such rows: refused, taken along, or left where they are.
        progress: Told how many rows were seen.

    Raises:
        StateError: There are such rows, and they are refused; all others are taken along.
        DataError: A row has no side-information.
        VectorError: A row cannot be transformed.
        StoreError: The store is away or refuses.
    """
    total, rows, changed, lost = old.count(), 0, 0, list[str]()
    for block in old.scroll():
        made_of = [_digest(block, row) for row in range(len(block))]
        known = new.sources(block.ids)
        lost += [id for id in block.ids if id not in known]
        taken = {None} if absent == "take" else set()
        chosen = [
            row
            for row, id in enumerate(block.ids)
            if (source := known.get(id)) in taken or source not in (None, "", made_of[row])
        ]
        differing, made = _differing(block, chosen, new, transform, side)
        if differing:
            new.upsert(made, [made_of[row] for row in differing])
        rows, changed = rows + len(block), changed + len(differing)
        if progress is not None:
            progress("transform", rows, max(total, rows), {})
    if lost and absent == "refuse":
        raise StateError(
            f"{len(lost)} rows of {old.address} are not in {new.address}, such as {shown_value(lost[0])}: added before "
            f"the step that was killed, or removed since; say which (--absent take or leave)"
        )
    none = np.zeros(0, np.uint64)
    return Followed(rows, changed, remove_gone(old, new), none, none)


def missing(old: Collection, new: Collection, transform: Transformer, side: Gallery | None) -> int:
    """How many rows of the old collection the new one does not follow: absent there, or made of something else."""
    count = 0
    for block in old.scroll():
        known = new.sources(block.ids)
        chosen = [row for row, id in enumerate(block.ids) if known.get(id) != _digest(block, row)]
        count += len(_differing(block, chosen, new, transform, side)[0])
    return count


def _differing(
    block: Rows, chosen: Sequence[int], new: Collection, transform: Transformer, side: Gallery | None
) -> tuple[list[int], Rows]:
    """Those of the chosen rows that the new collection has not, or has otherwise; and what they are to be there."""
    made = transformed(take(block, chosen), transform, side)
    there = new.retrieve(made.ids)
    place = {id: row for row, id in enumerate(there.ids)}

    def same(row: int) -> bool:
        found = place.get(made.ids[row])
        return (
            found is not None
            and float(made.vectors[row] @ there.vectors[found]) >= _SAME
            and (made.labels[row], made.payload[row]) == (there.labels[found], there.payload[found])
        )

    left = [row for row in range(len(made)) if not same(row)]
    return [chosen[row] for row in left], take(made, left)


def transformed(rows: Rows, transform: Transformer, side: Gallery | None) -> Rows:
    """The same rows in the new space.

    Raises:
        DataError: A row has no side-information.
        VectorError: A row cannot be transformed.
    """
    beside = None if side is None else _side_vectors(side, rows.ids)
    return Rows(rows.ids, transformed_rows(transform, rows.vectors, beside), rows.labels, rows.payload)


def _side_vectors(side: Gallery, ids: Sequence[str]) -> NDArray[np.float32]:
    try:
        return side.get(ids).vectors
    except DataError as error:
        raise DataError(f"{error}, which holds the side-information; embed these images for it first") from error


def remove_gone(old: Collection, new: Collection) -> int:
    """Delete from the new collection what was made of rows that are gone, and return how many those were."""
    removed = 0
    for block in new.scroll(vectors=False):
        made_of = new.sources(block.ids)
        ours = [id for id in block.ids if made_of.get(id)]
        there = set(old.retrieve(ours, vectors=False).ids)
        gone = [id for id in ours if id not in there]
        new.delete(gone)
        removed += len(gone)
    return removed


def take(rows: Rows, chosen: Sequence[int]) -> Rows:
    """Some rows, by their places."""
    return Rows(
        [rows.ids[row] for row in chosen],
        np.ascontiguousarray(rows.vectors[np.array(chosen, np.int64)]),
        [rows.labels[row] for row in chosen],
        [rows.payload[row] for row in chosen],
    )


def _mark(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _digest(block: Rows, row: int) -> str:
    found = hashlib.blake2b(block.vectors[row].tobytes(), digest_size=16)
    found.update(canonical_json([block.ids[row], block.labels[row], block.payload[row]]))
    return found.hexdigest()


def content(new: Collection) -> str:
    """A digest of all rows of a collection, whatever their order."""
    total = 0
    for block in new.scroll():
        total += sum(int(_digest(block, row), 16) for row in range(len(block)))
    return f"{total % (1 << 128):032x}"
