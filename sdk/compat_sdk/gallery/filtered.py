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
    if where.ids is not None:
        keep[:] = False
        keep[[snapshot.row_of[id] for id in set(where.ids) if id in snapshot.row_of]] = True
    if where.labels is not None:
        labels = set(where.labels)
        keep &= np.fromiter((label in labels for label in snapshot.labels), bool, len(snapshot))
    if where.payload:
        taken = {
            id
            for id, payload in read_payload(snapshot.folder, None, snapshot.payload).items()
            if where.takes_payload(payload)
        }
        keep &= np.fromiter((id in taken for id in snapshot.ids), bool, len(snapshot))
    return keep
