"""Old and new devices together: what the kept old gallery receives after a cutover, brought into the new space too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compat_sdk.errors import StateError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import require_intact
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.store import read_state
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.manifest import AFTER, BEFORE, FOLDER, require_manifest
from compat_sdk.upgrade.opener import OfSide, TransformOpener, turned
from compat_sdk.upgrade.pairing import Pairing
from compat_sdk.upgrade.plan import transformed
from compat_sdk.upgrade.prepare import WAIT_S, open_side, require_transform, upgrading
from compat_sdk.upgrade.shard import opened

_ROWS_PER_STEP = 4096


@dataclass(frozen=True)
class Followed:
    """Rows that `follow` added to the new gallery, and rows of its old one that it knew already."""

    added: int
    known: int


def follow(
    path: str | Path, opener: TransformOpener, *, side: str | Path | None = None, timeout: float = WAIT_S
) -> Followed:
    """Transform the rows that the kept old gallery received since the cutover, and add them to the new one.

    After a cutover the old gallery stays in ``upgrade/before``, a gallery of its own: devices with the old model search
    it, and add to it, until `discard`. Interrupted, the same call goes on.

    Args:
        path: The gallery that was cut over.
        opener: The transform of the upgrade.
        side: Gallery with the side-information of the same ids, if the transform takes any.
        timeout: Seconds to wait while others write, first come first served.

    Raises:
        StateError: The gallery has not been cut over.
        ConfigError: Another transform than that of the upgrade.
        DataError: Rows have no side-information, or side-information of another label.
        VectorError: The transform gave vectors that no index may see.
        GalleryError: A gallery is damaged.
        GalleryLockedError: Another process is writing or upgrading this gallery.
        CompatError: The disk is full or the folder cannot be written.
    """
    gallery = Path(path)
    folder = gallery / FOLDER
    with upgrading(gallery):
        manifest = require_manifest(gallery)
        if read_state(gallery).space != manifest.spaces.space:
            raise StateError(f"{gallery} has not been cut over; `compat-sdk upgrade run` takes added rows along")
        if turned(manifest.transform):
            opener = OfSide(opener)
        require_transform(gallery, manifest, opener)
        transform = opened(opener)
        old, after = (load_snapshot(folder / name, False) for name in (BEFORE, AFTER))
        new = Gallery.open(gallery, verify=False)
        present, cut = set(new.ids), set(after.ids)
        since = [id for id in old.ids if id not in cut]
        ids = [id for id in since if id not in present]
        partners = open_side(transform, side)
        labels = {id: label for id, label in zip(old.ids, old.labels, strict=True) if id not in cut}
        if partners is not None:
            pairing = Pairing(partners)
            pairing.rows(ids, [labels[id] for id in ids])
            pairing.require_all()
        for source in (old, partners) if ids else ():
            if source is not None:
                require_intact(source.folder, [segment.vectors for segment in source.state.segments])
        payload = read_payload(old.folder, ids)
        for start in range(0, len(ids), _ROWS_PER_STEP):
            names = ids[start : start + _ROWS_PER_STEP]
            rows = transformed(transform, old, partners, names, manifest.block_rows)
            told = [labels[id] for id in names]
            beside = [payload.get(id, {}) for id in names] if payload else None
            new.add(
                Embeddings(np.ascontiguousarray(rows), manifest.spaces.space),
                names,
                told,
                payload=beside,
                timeout=timeout,
            )
        return Followed(len(ids), len(since) - len(ids))
