"""What the new collection of an upgrade holds and finds, beside the old one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compat_sdk.errors import IncompatibleSpaceError
from compat_sdk.exchange import Table
from compat_sdk.gallery import Gallery
from compat_sdk.spread import spread
from compat_sdk.stores import Rows
from compat_sdk.stores.qdrant import Collection
from compat_sdk.unit import unit_rows
from compat_sdk.upgrade import quality
from compat_sdk.upgrade.accuracy import MOST_ROWS, Accuracy, compare
from compat_sdk.upgrade.collection.following import content, missing, take, transformed
from compat_sdk.upgrade.collection.places import Places, find, require_old
from compat_sdk.upgrade.opener import TransformOpener
from compat_sdk.upgrade.quality import Quality, Verdict
from compat_sdk.upgrade.verify import SAMPLE_COSINE, shortfalls


@dataclass(frozen=True)
class CollectionCheck:
    """What `verify_collection` found.

    Attributes:
        problems: What is wrong, one sentence each; empty when all is well.
        rows: Rows of the new collection.
        unfinished: Rows of the old one that it does not have yet; no problem, but no verification either.
        cut_over: Whether the alias leads to the new collection.
        sampled: Rows transformed again.
        lowest_cosine: The lowest cosine similarity to the stored row among them; None without a sample.
        accuracy: Stored rows against the new model's, if any were given.
        quality: What is found beside what was found before; None where neither labels nor new vectors tell.
        recorded: Whether the new collection now notes that it was verified, which the cutover asks for.
    """

    problems: tuple[str, ...]
    rows: int
    unfinished: int
    cut_over: bool
    sampled: int
    lowest_cosine: float | None
    accuracy: Accuracy | None
    quality: Quality | None
    recorded: bool


def verify_collection(
    alias: Collection,
    opener: TransformOpener,
    *,
    side: Gallery | None = None,
    sample: int = 256,
    held_out: Table | None = None,
    at_least: Verdict = "better",
    min_cosine: float | None = None,
) -> CollectionCheck:
    """Transform a sample of rows again, and judge what is found, as `compat_sdk.upgrade.verify` does of a folder.

    Args:
        alias: What devices search.
        opener: The transform of the run.
        side: Side-information of the same ids.
        sample: Rows to transform again, spread evenly.
        held_out: The new model's vectors of some of the same ids.
        at_least: The verdict that is no problem.
        min_cosine: Mean cosine similarity to the new model's vectors that must be reached.

    Raises:
        StateError: No upgrade was begun, or the old collection is another by now.
        IncompatibleSpaceError: The held-out vectors are in another space than the new one.
        ConfigError: Too few ids to compare.
        StoreError: The store is away or refuses.
    """
    places = find(alias)
    require_old(places)
    space = str(places.note["space"])
    if held_out is not None and held_out.space not in (None, space):
        raise IncompatibleSpaceError(
            held_out.space or "", (), space, f"the held-out vectors are in space {held_out.space}, expected {space}"
        )
    problems, before = list[str](), content(places.new)
    if dict(opener.identity) != dict(places.note["transform"]):
        problems.append("the transform is not the one of this upgrade, or is run in another way")
    transform = opener()
    unfinished = missing(places.old, places.new, transform, side)
    old, new = _both(places)
    lowest, sampled = None, spread(len(old), sample)
    if len(sampled) and not problems:
        again = transformed(take(old, sampled.tolist()), transform, side).vectors
        lowest = float(np.einsum("nd,nd->n", again, new[sampled]).min())
        if not lowest >= SAMPLE_COSINE:
            problems.append(
                f"a sample of {len(sampled)} rows transformed again has a lowest cosine of {lowest:.6f} to what is "
                f"stored, expected at least {SAMPLE_COSINE}; discard the upgrade and run it again"
            )
    accuracy, found = _measured(old, new, held_out) if len(old) else (None, None)
    problems += shortfalls(accuracy, found, at_least, min_cosine)
    recorded = not problems and not places.over and unfinished == 0
    if recorded:
        places.write(verified={"content": before, "measured": held_out is not None})
    return CollectionCheck(
        tuple(problems),
        places.new.count(),
        unfinished,
        places.over,
        len(sampled),
        lowest,
        accuracy,
        found,
        recorded,
    )


def _both(places: Places) -> tuple[Rows, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Rows that both collections have, spread over them where there are many: the old ones, and their new vectors."""
    most, total = quality.MOST_ROWS, places.old.count()
    old, new = [], []
    for block in _blocks(places.old, max(1, -(-total // most))):
        there = places.new.retrieve(block.ids)
        row_of = {id: row for row, id in enumerate(there.ids)}
        both = [row for row, id in enumerate(block.ids) if id in row_of]
        old.append(take(block, both))
        new.append(there.vectors[[row_of[block.ids[row]] for row in both]])
    whole = Rows(
        [id for rows in old for id in rows.ids],
        np.concatenate([np.zeros((0, places.old.shape().dim), np.float32), *(rows.vectors for rows in old)]),
        [label for rows in old for label in rows.labels],
        [payload for rows in old for payload in rows.payload],
    )
    vectors = np.concatenate([np.zeros((0, places.new.shape().dim), np.float32), *new])
    return whole, unit_rows(vectors, "vectors of the new collection", "discard the upgrade and run it again")


def _blocks(collection: Collection, every: int) -> Iterator[Rows]:
    for number, block in enumerate(collection.scroll()):
        if number % every == 0:
            yield block


def _measured(
    old: Rows, new: np.ndarray[tuple[int, int], np.dtype[np.float32]], held_out: Table | None
) -> tuple[Accuracy | None, Quality | None]:
    """How near the rows are to the new model's vectors, and how much is found."""
    if held_out is None:
        own = spread(len(old), quality.MOST_QUERIES)
        return None, quality.judge_by_labels(old.vectors, new, list(old.labels), own, None)
    place = {id: row for row, id in enumerate(held_out.ids)}
    pairs = [(row, place[id]) for row, id in enumerate(old.ids) if id in place]
    ours, theirs = np.array(pairs, np.int64).reshape(-1, 2)[spread(len(pairs), MOST_ROWS)].T
    given = unit_rows(held_out.vectors[theirs], "held-out vectors", "leave them out, or embed their images again")
    accuracy = compare(new[ours], given, old.vectors[ours])
    asked = spread(len(ours), quality.MOST_QUERIES)
    found = quality.judge_by_labels(old.vectors, new, list(old.labels), ours[asked], given[asked])
    return accuracy, found or quality.judge_by_neighbours(old.vectors[ours], new[ours], given)
