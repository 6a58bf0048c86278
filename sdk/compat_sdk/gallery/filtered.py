"""Which rows meet the conditions of a search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.where import Where


def meeting(snapshot: Snapshot, where: Where) -> NDArray[np.bool_]:
    """Which rows meet the conditions, bool ``[rows]``."""
    keep = np.ones(len(snapshot), bool)
    if where.labels is not None:
        keep &= snapshot.labelled(set(where.labels))
    if where.ids is not None:
        keep &= _rows_of(snapshot, set(where.ids))
    if where.payload:
        found = read_payload(snapshot.folder, None, snapshot.payload).items()
        keep &= _rows_of(snapshot, {id for id, payload in found if where.takes_payload(payload)})
    return keep


def _rows_of(snapshot: Snapshot, ids: set[str]) -> NDArray[np.bool_]:
    among = np.zeros(len(snapshot), bool)
    among[[snapshot.row_of[id] for id in ids if id in snapshot.row_of]] = True
    return among
