"""The rows of a gallery, changed: what is added, removed or replaced is on disk when the call returns.

A change is a step from one snapshot to the next, under the gallery's lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_sdk.gallery import store
from compat_sdk.gallery.given import own_vectors
from compat_sdk.gallery.payload import append_payload, check_payload, has_payload
from compat_sdk.gallery.reading import Reader
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.writer import append, check_names, replace_rows, select, writing
from compat_sdk.shown import shown_names
from compat_sdk.space import Embeddings

WAIT_S = 60.0
"""Seconds for which a change waits while others write."""


class Changing(Reader):
    """An opened gallery whose rows may change; one process writes at a time."""

    def add(
        self,
        embeddings: Embeddings,
        ids: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        payload: Sequence[Mapping[str, object]] | None = None,
        timeout: float = WAIT_S,
    ) -> None:
        """Append vectors; all of them are on disk when this returns, or none if it raises.

        An index becomes stale: searches stay right, at the speed of the exact scan, until `build_index`.

        Args:
            embeddings: Vectors in the gallery's own space.
            ids: One per vector, not empty, used once in the gallery.
            labels: One per vector; none when omitted.
            payload: What to keep beside each, an object that JSON can carry; see `compat_sdk.gallery.payload`.
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.

        Raises:
            IncompatibleSpaceError: The vectors are in another space.
            VectorError: Wrong dimension, or vectors that no index may see.
            DataError: Ids or labels are missing, repeated or not strings, or a payload is no JSON.
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        vectors = _own(embeddings, self._snapshot)
        names, tags = check_names(ids, labels, len(vectors))
        beside = check_payload(payload, names)
        if not names:
            return

        def step(snapshot: Snapshot) -> Snapshot:
            vectors = _own(embeddings, snapshot)  # it may have been cut over to another space since
            known = [name for name in names if name in snapshot.row_of]
            if known:
                raise DataError(f"{len(known)} ids are in the gallery already: {shown_names(known)}; remove them first")
            if payload is not None or has_payload(self.path):  # or a removed row of this id would lend it its own
                append_payload(self.path, beside)
            return append(snapshot, vectors, names, tags)

        self._change(step, timeout)

    def remove(self, ids: Iterable[str], *, timeout: float = WAIT_S) -> int:
        """Delete rows by id, and return how many there were; ids that are not in the gallery are passed over.

        Args:
            ids: Any number of them.
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.

        Raises:
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        if isinstance(ids, str):
            raise DataError(f"ids is the string {ids!r}, expected a list of ids")
        wanted, gone = set(ids), set[int]()

        def step(snapshot: Snapshot) -> Snapshot:
            nonlocal gone
            gone = {snapshot.row_of[id] for id in wanted if id in snapshot.row_of}
            if not gone:
                return snapshot
            keep = np.ones(len(snapshot), bool)
            keep[list(gone)] = False
            return select(snapshot, keep)

        self._change(step, timeout)
        return len(gone)

    def replace(self, embeddings: Embeddings, ids: Sequence[str], *, timeout: float = WAIT_S) -> None:
        """Put other vectors in the place of rows, all in one step; ids, labels and order stay.

        Args:
            embeddings: Vectors in the gallery's own space.
            ids: One per vector, each in the gallery.
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.

        Raises:
            IncompatibleSpaceError: The vectors are in another space.
            VectorError: Wrong dimension, or vectors that no index may see.
            DataError: Ids are repeated, not strings, or not in the gallery.
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        names, _ = check_names(ids, None, len(_own(embeddings, self._snapshot)))
        if not names:
            return

        def step(snapshot: Snapshot) -> Snapshot:
            vectors = _own(embeddings, snapshot)
            unknown = [name for name in names if name not in snapshot.row_of]
            if unknown:
                raise DataError(f"{len(unknown)} ids are not in the gallery: {shown_names(unknown)}; add them instead")
            rows = np.array([snapshot.row_of[name] for name in names], np.int64)
            order = np.argsort(rows)
            return replace_rows(snapshot, vectors[order], rows[order])

        self._change(step, timeout)

    def _change(self, step: Callable[[Snapshot], Snapshot], timeout: float) -> None:
        """Take one step from the gallery's state to the next; again if another writer was faster all the same."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                with writing(self.path, self._snapshot, self._verify, left) as snapshot:
                    self._snapshot = snapshot
                    self._snapshot = step(snapshot)
                return
            except store.StateChangedError:
                if time.monotonic() >= deadline:
                    raise


def _own(embeddings: Embeddings, snapshot: Snapshot) -> NDArray[np.float32]:
    return own_vectors(embeddings, snapshot.state.space, snapshot.state.dim)
