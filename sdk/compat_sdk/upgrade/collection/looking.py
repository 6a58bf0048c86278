"""What an upgrade of a collection will cost, and how far one is; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compat_sdk.errors import StateError
from compat_sdk.exchange import Table
from compat_sdk.gallery import Gallery
from compat_sdk.stores.qdrant import Collection, collection_for
from compat_sdk.unit import unit_rows
from compat_sdk.upgrade.accuracy import MOST_ROWS, Accuracy, compare
from compat_sdk.upgrade.collection.following import transformed
from compat_sdk.upgrade.collection.places import find, require_source
from compat_sdk.upgrade.opener import TransformOpener


@dataclass(frozen=True)
class CollectionPlan:
    """What an upgrade of a collection will cost.

    Attributes:
        rows: Rows of the collection.
        remaining: Those that the new collection does not have yet.
        bytes_needed: Of their new vectors in the store, without its index.
        rows_per_second: Measured on a few rows, reading and transforming them; None where there are none.
        seconds: For the remaining rows at that rate.
        accuracy: Transformed vectors against the new model's, where some were given.
    """

    rows: int
    remaining: int
    bytes_needed: int
    rows_per_second: float | None
    seconds: float | None
    accuracy: Accuracy | None


@dataclass(frozen=True)
class CollectionStatus:
    """How far an upgrade of a collection is.

    Attributes:
        stage: ``"none"``, ``"running"``, ``"verified"`` or ``"over"``.
        space: Embedding space of what the address leads to.
        rows: Rows of that.
        leads_to: Space that the upgrade leads to, or led to; None without one.
        other_rows: Rows of the other collection: the new one before the cutover, the old one after it.
    """

    stage: Literal["none", "running", "verified", "over"]
    space: str
    rows: int
    leads_to: str | None
    other_rows: int | None


def plan_collection(
    alias: Collection, opener: TransformOpener, *, side: Gallery | None = None, held_out: Table | None = None
) -> CollectionPlan:
    """Count and measure; see `CollectionPlan`.

    Raises:
        ConfigError: The collection names no space, or too few ids are held out.
        IncompatibleSpaceError: It is in another space than the transform takes.
        DataError: A row has no side-information.
        StoreError: The store is away or refuses.
    """
    transform = opener()
    spaces = transform.spaces
    require_source(alias, alias.shape(), spaces)
    rows = alias.count()
    new = alias.named(collection_for(alias.address.collection, spaces.space))
    remaining = max(0, rows - (new.count() if new.exists() else 0))
    began, block = time.perf_counter(), next(alias.scroll(), None)
    rate = None
    if block is not None:
        transformed(block, transform, side)
        rate = len(block) / max(1e-9, time.perf_counter() - began)
    accuracy = None
    if held_out is not None:
        old = alias.retrieve(list(held_out.ids[:MOST_ROWS]))
        place = {id: row for row, id in enumerate(held_out.ids)}
        theirs = np.array([place[id] for id in old.ids], np.int64)
        given = unit_rows(held_out.vectors[theirs], "held-out vectors", "leave them out, or embed their images again")
        accuracy = compare(transformed(old, transform, side).vectors, given, old.vectors)
    return CollectionPlan(
        rows, remaining, 4 * spaces.dim * remaining, rate, None if rate is None else remaining / rate, accuracy
    )


def status_collection(alias: Collection) -> CollectionStatus:
    """Look how far the upgrade behind an alias is.

    Raises:
        StoreError: The store is away or refuses.
    """
    shape = alias.shape()
    try:
        places = find(alias)
    except StateError:
        return CollectionStatus("none", shape.space or "", alias.count(), None, None)
    other = places.old if places.over else places.new
    stage: Literal["running", "verified", "over"] = "running"
    if places.over:
        stage = "over"
    elif places.note.get("verified"):
        stage = "verified"
    rows = other.count() if other.exists() else None
    return CollectionStatus(stage, shape.space or "", alias.count(), str(places.note["space"]), rows)
