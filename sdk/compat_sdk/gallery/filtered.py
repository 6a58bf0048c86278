"""The nearest rows among those that meet conditions: still ``k`` of them, by the exact scan over these rows alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.snapshot import Snapshot, blocks, checked
from compat_sdk.gallery.vectors import as_unit
from compat_sdk.gallery.where import Where
from compat_sdk.index import ExactIndex, check_k
from compat_sdk.space import Embeddings, require_compatible


def _meeting(snapshot: Snapshot, where: Where) -> NDArray[np.bool_]:
    """Which rows meet the conditions, bool ``[rows]``."""
    keep = np.ones(len(snapshot), bool)
    if where.ids is not None:
        keep[:] = False
        keep[[snapshot.row_of[id] for id in set(where.ids) if id in snapshot.row_of]] = True
    if where.labels is not None:
        labels = set(where.labels)
        keep &= np.fromiter((label in labels for label in snapshot.labels), bool, len(snapshot))
    if where.payload:
        taken = {id for id, payload in read_payload(snapshot.folder).items() if where.takes_payload(payload)}
        keep &= np.fromiter((id in taken for id in snapshot.ids), bool, len(snapshot))
    return keep


def search_meeting(
    snapshot: Snapshot, query: Embeddings, k: int, where: Where
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers and cosines of the best ``k`` rows that meet the conditions, as `Snapshot.search` returns them."""
    if isinstance(query, Embeddings):
        require_compatible(query, snapshot.state.space)
    vectors, k = checked(query, snapshot.state.dim), check_k(k)
    keep = _meeting(snapshot, where)
    parts = [as_unit(block) for block in blocks(snapshot.parts, keep) if len(block)]
    index = ExactIndex(parts or np.empty((0, snapshot.state.dim), np.float32))
    rows, scores = index.search(vectors, k)
    return np.flatnonzero(keep)[rows], scores
