"""A canary: some of the transformed rows as a gallery of their own, for a few devices to search before the cutover."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, StateError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.filling import filling, require_unfilled
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.tables import NameCursor, StoredTable
from compat_sdk.gallery.vectors import as_unit
from compat_sdk.stores import Rows
from compat_sdk.upgrade.assembly import finished, kept
from compat_sdk.upgrade.manifest import FOLDER, SOURCES, Manifest, require_manifest
from compat_sdk.upgrade.measured import shard_rows
from compat_sdk.upgrade.rows import find_rows
from compat_sdk.upgrade.shard import Record
from compat_sdk.upgrade.sharding import Shard

_WHAT = "upgrade canary"
_ROWS_PER_SEGMENT = 1 << 16


def canary(path: str | Path, out: str | Path, *, labels: Sequence[str] = (), share: float | None = None) -> Gallery:
    """Make a gallery in the new space of some of the rows that a run has transformed; the gallery does not change.

    Rows that were removed or replaced since the run are left out. Which rows a share takes depends on their ids alone:
    a larger share has those of a smaller one. A process that dies on the way leaves files that are no gallery; the same
    call again deletes them and begins anew.

    Args:
        path: The gallery.
        out: Folder of the new gallery; absent, empty, or what a killed canary left.
        labels: Rows of these labels.
        share: Rows whose id's hash lies in this share of all hashes, in (0, 1]; rows that either of the two takes.

    Raises:
        ConfigError: Neither labels nor a share, a share out of its range, no such row, or ``out`` is in use.
        StateError: No upgrade, shards that are not done, or a gallery that was cut over.
        GalleryError: The gallery or a shard is damaged.
        CompatError: The folder cannot be written.
    """
    if not labels and share is None:
        raise ConfigError("found neither labels nor a share; say which rows the canary takes")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"share is {share!r}, expected a part of all rows above 0 and at most 1")
    folder = Path(out)
    require_unfilled(folder, _WHAT)
    source = load_snapshot(Path(path), False, names=False)
    manifest = require_manifest(source.folder)
    spaces, told = manifest.spaces, set(labels)
    if source.state.space == spaces.space:
        raise StateError(f"{path} is in space {spaces.space} already; search the gallery itself")
    shards = finished(source.folder / FOLDER, manifest)
    found = find_rows(source, source.folder / FOLDER / SOURCES, manifest.segments, spaces.old_dim)
    present = kept(found, manifest.rows)

    def taken(id: str, label: str) -> bool:
        return label in told or (share is not None and _place(id) < share)

    with filling(
        folder, _WHAT, space=spaces.space, dim=spaces.dim, model=manifest.model, dtype=manifest.dtype
    ) as filled:
        for piece in _gathered(_chosen(source.folder, manifest, shards, present, taken)):
            filled.add(iter([piece]), len(piece))
        if not filled.segments:
            raise ConfigError(f"no row of {path} is of these labels or in this share; take more")
    return Gallery.open(folder, verify=False)


def _chosen(
    gallery: Path,
    manifest: Manifest,
    shards: Sequence[tuple[Shard, Record]],
    present: NDArray[np.bool_],
    taken: Callable[[str, str], bool],
) -> Iterator[Rows]:
    """The rows that are present and that are taken, transformed, shard by shard; with what is kept beside them."""
    folder, payload = gallery / FOLDER, read_payload(gallery)
    read, names = -1, None
    for shard, record in shards:
        if read != shard.source or names is None:
            read = shard.source
            names = NameCursor(StoredTable(folder / SOURCES, manifest.sources[read].segment))
        ids, labels = list[str](), list[str]()
        for more_ids, more_labels in names.between(shard.start, shard.stop):
            ids += more_ids
            labels += more_labels
        here = present[shard.first : shard.first + shard.rows]
        rows = [row for row, name in enumerate(zip(ids, labels, strict=True)) if here[row] and taken(*name)]
        if rows:
            vectors = as_unit(np.ascontiguousarray(shard_rows(folder, manifest, shard, record)[rows]))
            chosen = [ids[row] for row in rows]
            yield Rows.of(chosen, vectors, [labels[row] for row in rows], [payload.get(id, {}) for id in chosen])


def _gathered(pieces: Iterator[Rows]) -> Iterator[Rows]:
    """The same rows in fewer pieces, each of which becomes a file."""
    held = list[Rows]()
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= _ROWS_PER_SEGMENT:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(pieces: Sequence[Rows]) -> Rows:
    return Rows(
        [id for rows in pieces for id in rows.ids],
        np.concatenate([rows.vectors for rows in pieces]),
        [label for rows in pieces for label in rows.labels],
        [payload for rows in pieces for payload in rows.payload],
    )


def _place(id: str) -> float:
    """Where the hash of an id lies among all hashes, in [0, 1)."""
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / float(1 << 48)
