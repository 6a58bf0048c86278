"""A canary: some of the transformed rows as a gallery of their own, for a few devices to search before the cutover."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compat_sdk.errors import ConfigError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.store import is_new_folder
from compat_sdk.gallery.tables import NameCursor, StoredTable
from compat_sdk.gallery.vectors import as_unit
from compat_sdk.outputs import require_own
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.assembly import finished
from compat_sdk.upgrade.manifest import FOLDER, SOURCES, WITH_UPGRADE, require_manifest
from compat_sdk.upgrade.measured import shard_rows


def canary(path: str | Path, out: str | Path, *, labels: Sequence[str] = (), share: float | None = None) -> Gallery:
    """Make a gallery in the new space of some of the rows that a run has transformed; the gallery does not change.

    Which rows a share takes depends on their ids alone: a larger share has those of a smaller one.

    Args:
        path: The gallery.
        out: Folder of the new gallery.
        labels: Rows of these labels.
        share: Rows whose id's hash lies in this share of all hashes, in (0, 1]; rows that either of the two takes.

    Raises:
        ConfigError: Neither labels nor a share, a share out of its range, no such row, or ``out`` is in use.
        StateError: No upgrade, or shards that are not done.
        GalleryError: The gallery or a shard is damaged.
        CompatError: The folder cannot be written.
    """
    if not labels and share is None:
        raise ConfigError("found neither labels nor a share; say which rows the canary takes")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"share is {share!r}, expected a part of all rows above 0 and at most 1")
    require_own(Path(out), WITH_UPGRADE, "upgrade canary")
    if not is_new_folder(Path(out)):
        raise ConfigError(f"{out} already exists and is not empty; choose another folder or delete it")
    source = load_snapshot(Path(path), False)
    folder, wanted, present = source.folder / FOLDER, set(labels), set(source.ids)
    manifest = require_manifest(source.folder)
    made: Gallery | None = None
    read, names = -1, None
    for shard, record in finished(folder, manifest):
        if read != shard.source or names is None:
            read = shard.source
            names = NameCursor(StoredTable(folder / SOURCES, manifest.sources[read].segment))
        ids, told = list[str](), list[str]()
        for more_ids, more_labels in names.between(shard.start, shard.stop):
            ids += more_ids
            told += more_labels
        rows = [
            row
            for row, (id, label) in enumerate(zip(ids, told, strict=True))
            if id in present and (label in wanted or (share is not None and _place(id) < share))
        ]
        if rows:
            if made is None:
                spaces = manifest.spaces
                made = Gallery.create(
                    out, space=spaces.space, dim=spaces.dim, model=manifest.model, dtype=manifest.dtype
                )
            vectors = as_unit(np.ascontiguousarray(shard_rows(folder, manifest, shard, record)[rows]))
            made.add(
                Embeddings(vectors, manifest.spaces.space), [ids[row] for row in rows], [told[row] for row in rows]
            )
    if made is None:
        raise ConfigError(f"no row of {path} is of these labels or in this share; take more")
    return made


def _place(id: str) -> float:
    """Where the hash of an id lies among all hashes, in [0, 1)."""
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / float(1 << 48)
