"""What is known of a finished shard's rows: how near they are to the new model's vectors, and how much they find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import IncompatibleSpaceError
from compat_sdk.gallery.files import Segment
from compat_sdk.gallery.tables import NameCursor, StoredTable
from compat_sdk.gallery.vectors import open_vectors
from compat_sdk.space import Embeddings
from compat_sdk.spread import spread
from compat_sdk.upgrade import quality
from compat_sdk.upgrade.accuracy import MOST_ROWS, Accuracy, compare
from compat_sdk.upgrade.manifest import SHARDS, SOURCES, Manifest
from compat_sdk.upgrade.plan import open_held_out
from compat_sdk.upgrade.quality import Quality
from compat_sdk.upgrade.rows import StackedRows, stored_rows
from compat_sdk.upgrade.shard import Record
from compat_sdk.upgrade.sharding import Shard

Given = tuple[Sequence[str], StackedRows]
"""Ids of images, and the new model's vectors of them in the same order."""


def given_vectors(
    manifest: Manifest, held_out: str | Path | None, embedded: tuple[Sequence[str], Embeddings] | None
) -> Given | None:
    """The new model's vectors to compare with, from a gallery or from memory; None where neither is given.

    Raises:
        IncompatibleSpaceError: They are not in the new space.
        GalleryError: ``held_out`` is no gallery, or a damaged one.
    """
    if embedded is not None:
        ids, vectors = embedded
        if vectors.space != manifest.spaces.space or vectors.dim != manifest.spaces.dim:
            raise IncompatibleSpaceError(
                vectors.space,
                vectors.searches,
                manifest.spaces.space,
                f"the images to compare with were embedded in space {vectors.space}; expected the upgrade's new space "
                f"{manifest.spaces.space}: pass the new model",
            )
        return ids, StackedRows([vectors.vectors], manifest.spaces.dim)
    if held_out is None:
        return None
    found = open_held_out(Path(held_out), manifest.spaces.space, manifest.spaces.dim)
    return found.ids, StackedRows(found.parts, manifest.spaces.dim)


def measured(
    folder: Path, manifest: Manifest, done: Sequence[tuple[Shard, Record]], given: Given | None
) -> tuple[Accuracy | None, Quality | None]:
    """Measure the rows of finished shards.

    Args:
        folder: The upgrade's.
        manifest: What the shards are of.
        done: The finished shards.
        given: The new model's vectors of some images; None where there are none.

    Returns:
        How near the rows are to these vectors, if there are any; and how much is found, where labels or vectors tell.

    Raises:
        ConfigError: Fewer than two of the given ids are among the rows.
    """
    ids, embedded = ([], None) if given is None else given
    labels, pairs = _names(folder, manifest, done, ids)
    spaces, total = manifest.spaces, len(labels)
    frozen = stored_rows(folder / SOURCES, manifest.segments, spaces.old_dim, manifest.dtype)
    numbers = np.concatenate([np.zeros(0, np.int64), *(np.arange(s.first, s.first + s.rows) for s, _ in done)])
    stored = StackedRows([shard_rows(folder, manifest, *one) for one in done], spaces.dim)
    if embedded is None:
        own, new = spread(total, quality.MOST_QUERIES), None
        return None, _by_labels(frozen, stored, numbers, labels, own, new) if total else None
    ours, theirs = pairs[spread(len(pairs), MOST_ROWS)].T
    old, transformed, by_new = frozen.take(numbers[ours]), stored.take(ours), embedded.take(theirs)
    accuracy = compare(transformed, by_new, old)
    own, asked = pairs[spread(len(pairs), quality.MOST_QUERIES)].T
    found = _by_labels(frozen, stored, numbers, labels, own, embedded.take(asked))
    return accuracy, found or quality.judge_by_neighbours(old, transformed, by_new)


def shard_rows(folder: Path, manifest: Manifest, shard: Shard, record: Record) -> NDArray[Any]:
    """Map the rows of a finished shard, as they are stored.

    Raises:
        GalleryError: Their file is missing, or holds something else.
    """
    segment = Segment(shard.rows, record.output, record.output)
    return open_vectors(folder / SHARDS, segment, manifest.spaces.dim, manifest.dtype)


def _by_labels(
    frozen: StackedRows,
    stored: StackedRows,
    numbers: NDArray[np.int64],
    labels: Sequence[str],
    own: NDArray[np.int64],
    new: NDArray[np.float32] | None,
) -> Quality | None:
    """Search the rows of the queries' images and others, spread evenly over a gallery too large to search whole."""
    searched = np.unique(np.concatenate([spread(len(labels), quality.MOST_ROWS), own]))
    told = [labels[row] for row in searched.tolist()]
    old, transformed = frozen.take(numbers[searched]), stored.take(searched)
    return quality.judge_by_labels(old, transformed, told, np.searchsorted(searched, own), new)


def _names(
    folder: Path, manifest: Manifest, done: Sequence[tuple[Shard, Record]], ids: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """The label of every row of the shards, and which row belongs to which of the ids: int64 ``[pairs, 2]``."""
    place = {id: row for row, id in enumerate(ids)}
    labels, rows = list[str](), dict[str, int]()
    same = dict[str, str]()  # one object for all rows of a label
    read, names = -1, None
    for shard, _ in done:
        if read != shard.source or names is None:
            read = shard.source
            names = NameCursor(StoredTable(folder / SOURCES, manifest.sources[read].segment))
        for known, told in names.between(shard.start, shard.stop):
            rows |= {id: len(labels) + row for row, id in enumerate(known) if id in place}
            labels += [same.setdefault(label, label) for label in told]
    return labels, np.array([(row, place[id]) for id, row in rows.items()], np.int64).reshape(-1, 2)
