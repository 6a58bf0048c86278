"""An opened gallery: what it holds, what it finds, whether it is whole, and how it goes over to a later state."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.trust import Trust
from compat_sdk.errors import DataError
from compat_sdk.gallery import indexing, store
from compat_sdk.gallery.filtered import meeting
from compat_sdk.gallery.opening import gallery_problems, load_snapshot
from compat_sdk.gallery.part_list import Place, parts_of
from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.where import Where
from compat_sdk.shown import shown_value
from compat_sdk.space import Embeddings, covers_all
from compat_sdk.stores import Rows


@dataclass(frozen=True)
class Hit:
    """One answer of a search: whose vector it is, and its cosine similarity to the query, in [-1, 1]."""

    id: str
    label: str
    score: float


class Reader:
    """An opened gallery, for reading: it shows one state until it is told to `reload`."""

    def __init__(self, path: Path, snapshot: Snapshot, verify: bool, trust: Trust | None = None) -> None:
        """Wrap an opened state; use `create` or `open`."""
        self.path = path
        self._snapshot = snapshot
        self._verify = verify
        self._trust = trust

    def reload(self) -> bool:
        """Go over to the gallery's present state, in one step: for a server that stays up while others write.

        Searches that run in other threads end in the state that they began in. Files that were checked when they were
        opened are not checked again. After the cutover of an upgrade the gallery is in another space, and a query of
        the old one is refused. Whose signature `open` required must have signed the present state too.

        Returns:
            Whether the state is another one now.

        Raises:
            GalleryError: The present state is damaged, or not signed as was asked for; the one before goes on to serve.
            ConfigError: The trust file that `open` took cannot be used any more.
            SystemRefusedError: The system refused to open a file.
        """
        before = self._snapshot
        if self._trust is None and store.read_state(self.path).identity == before.state.identity:
            return False
        after = load_snapshot(self.path, self._verify, trust=self._trust, known=before)
        after.vouched = after.vouched or before.vouched
        self._snapshot = after
        return after.state.identity != before.state.identity

    @staticmethod
    def is_signed(path: Place | Sequence[Place]) -> bool:
        """Whether a signature is there, of any part; only opening with a key or a trust file tells whether it holds."""
        return any(os.path.lexists(Path(part) / store.SIGNATURE) for part in parts_of(path))

    def __len__(self) -> int:
        return len(self._snapshot)

    @property
    def space(self) -> str:
        """Embedding space of every vector in the gallery."""
        return self._snapshot.state.space

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self._snapshot.state.dim

    @property
    def model(self) -> Mapping[str, object]:
        """What `create` was told about the gallery model."""
        return self._snapshot.state.model

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of every row, in the order of ``vectors``."""
        return self._snapshot.ids

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of every row, empty where none was given."""
        return self._snapshot.labels

    @property
    def vectors(self) -> NDArray[np.float32]:
        """``[n, dim]`` float32, unit norm, read-only; several segments are copied together once."""
        return self._snapshot.vectors

    def held(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the gallery."""
        row_of = self._snapshot.row_of
        return {id for id in ids if id in row_of}

    def info(self) -> dict[str, object]:
        """Return what there is to know, ready for JSON.

        ``index`` is None or says whether it is fresh; a ``foreign_index`` was neither built here nor signed by a maker
        whose signature was required, and is not read. ``space_covers`` is ``all`` that decides a vector, or, for an old
        space, ``weights``.
        """
        state = self._snapshot.state
        index = state.index and {
            "kind": state.index.kind,
            "fresh": state.index_is_fresh,
            "bytes": state.index.file.bytes,
            **indexing.shown(state.index.options),
        }
        foreign = self._snapshot.index_is_foreign
        return {
            "path": str(self.path),
            "space": state.space,
            "space_covers": "all" if covers_all(state.space) else "weights",
            "dim": state.dim,
            "dtype": state.dtype,
            "rows": len(self),
            "labels": len(set(self.labels) - {""}),
            "segments": len(state.segments),
            "bytes": sum(file.bytes for file in state.files),
            "generation": state.generation,
            "model": dict(state.model),
            "index": index,
            "foreign_index": foreign,
            "search": index["kind"] if index and index["fresh"] and not foreign else "exact",
            "signed": self.is_signed(self.path),
            "signed_by": self._snapshot.signed_by,
        }

    def verify(self) -> list[str]:
        """Check everything: digests, ids, vectors, and the index against the exact search.

        Returns:
            What is wrong, one sentence each; empty when all is well. A stale index is not a fault, and of a foreign one
            the digest alone is compared.
        """
        return gallery_problems(self.path, vouched=self._snapshot.vouched)

    def get(self, ids: Sequence[str]) -> Rows:
        """Return the rows of some ids, in their order: vectors, labels and what is kept beside them.

        Raises:
            DataError: An id is not in the gallery.
        """
        snapshot = self._snapshot
        missing = [id for id in ids if id not in snapshot.row_of]
        if missing:
            raise DataError(f"{len(missing)} ids are not in the gallery, such as {shown_value(missing[0])}")
        rows = [snapshot.row_of[id] for id in ids]
        beside = read_payload(self.path, ids, snapshot.payload)
        labels, payload = [snapshot.labels[row] for row in rows], [beside.get(id, {}) for id in ids]
        return Rows.of(list(ids), snapshot.vectors[rows], labels, payload)

    def search(
        self, query: Embeddings, k: int = 10, *, index: str = "auto", where: Where | None = None
    ) -> list[list[Hit]]:
        """Find the nearest stored images of every query.

        Args:
            query: ``[q, dim]`` vectors that may search this gallery's space.
            k: Hits wanted per query, at least 1; a smaller gallery gives all it has.
            index: ``"auto"`` (the stored index while it is fresh, else the exact scan), ``"exact"``, the same scan by
                another library (``"exact-faiss"``, ``"exact-faiss-gpu"``), or the kind of the stored index. An index
                that was neither built here nor vouched for by a required signature is never read: with a warning,
                ``"auto"`` takes the exact scan, and its kind builds one in memory.
            where: Which rows may be found; still ``k`` of them, whichever index answers.

        Returns:
            For each query its hits, best first.

        Raises:
            IncompatibleSpaceError: The query's space is not declared compatible, whatever the dimensions.
            VectorError: Not Embeddings, or vectors of another dimension or not of unit norm.
            ConfigError: ``k`` or ``index`` is out of range.
            StateError: The index asked for is absent or stale.
            GalleryError: The stored index is damaged.
            MissingExtraError: The stored index needs an extra that is not installed.
        """
        snapshot = self._snapshot
        rows, scores = snapshot.search(query, k, index, None if where is None else meeting(snapshot, where))
        return [
            [Hit(snapshot.ids[row], snapshot.labels[row], score) for row, score in zip(*line, strict=True)]
            for line in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def search_rows(
        self, query: Embeddings, k: int = 10, index: str = "auto"
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Like `search`, but return row numbers and scores, both ``[q, min(k, n)]``."""
        return self._snapshot.search(query, k, index)

    def _reloaded(self, verify: bool) -> Snapshot:
        """The gallery as it is now; what a signature vouched for when it was opened goes on to be known."""
        snapshot = load_snapshot(self.path, verify)
        snapshot.vouched = self._snapshot.vouched
        if snapshot.state.identity == self._snapshot.state.identity:
            snapshot.payload = self._snapshot.payload
        return snapshot
