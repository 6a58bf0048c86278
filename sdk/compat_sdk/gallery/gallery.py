"""A gallery: vectors in one embedding space, with ids and labels, on disk and searchable.

The stored vectors are the truth; an index over them is a cache that can be built again at any time. A change
is on disk when the call returns, and a process killed at any moment leaves the state before or after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.signature import make_signature
from compat_sdk.bundle.trust import Trust, trust_of
from compat_sdk.errors import CompatError, ConfigError, DataError, GalleryError, StateError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import canonical_json
from compat_sdk.gallery import indexing, store
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.filtered import meeting
from compat_sdk.gallery.lock import write_lock
from compat_sdk.gallery.opening import gallery_problems, load_snapshot
from compat_sdk.gallery.payload import append_payload, check_payload, has_payload, read_payload
from compat_sdk.gallery.release import RELEASE_FILE, Release, next_release
from compat_sdk.gallery.snapshot import Snapshot, own_vectors
from compat_sdk.gallery.state import STATE_FILE, State
from compat_sdk.gallery.where import Where
from compat_sdk.gallery.writer import (
    append,
    build_index,
    build_index_again,
    check_names,
    compact,
    compact_folder,
    select,
    writing,
)
from compat_sdk.kinds import is_address
from compat_sdk.outputs import require_place
from compat_sdk.shown import shown_value
from compat_sdk.space import Embeddings, check_space, covers_all, require_space
from compat_sdk.stores import Rows

_WAIT_S = 60.0
"""Seconds for which a change waits while others write."""


@dataclass(frozen=True)
class Hit:
    """One answer of a search: whose vector it is, and its cosine similarity to the query, in [-1, 1]."""

    id: str
    label: str
    score: float


class Gallery:
    """Stored vectors of one space. Readers see the state they opened; one process writes at a time."""

    def __init__(self, path: Path, snapshot: Snapshot, verify: bool, trust: Trust | None = None) -> None:
        """Wrap an opened state; use `create` or `open`."""
        self.path = path
        self._snapshot = snapshot
        self._verify = verify
        self._trust = trust

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        space: str,
        dim: int,
        model: Mapping[str, object] | None = None,
        dtype: Dtype = "float32",
    ) -> Gallery:
        """Make an empty gallery in a new or empty folder.

        Args:
            path: Folder; parents are made.
            space: Embedding space of every vector it will hold.
            dim: Numbers per vector, at least 1.
            model: What to remember about the gallery model; anything that JSON can carry.
            dtype: Of the files; ``"float16"`` and ``"int8"`` are read as rounded unit vectors, and searched as copies.

        Raises:
            ConfigError: The folder is in use, or an argument is malformed.
            CompatError: The folder cannot be written.
        """
        folder = Path(path)
        require_place(folder)
        check_space(space)
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ConfigError(f"dim is {dim!r}, expected an integer of at least 1")
        try:
            canonical_json(dict(model or {}))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model is not plain JSON ({error}); pass strings, numbers, lists, dicts") from error
        if not store.is_new_folder(folder):
            raise ConfigError(f"{folder} already exists and is not empty; choose another folder or delete it")
        if dtype not in get_args(Dtype):
            raise ConfigError(f"dtype is {dtype!r}, expected one of {', '.join(get_args(Dtype))}")
        state = State(space, dim, dict(model or {}), dtype=dtype)
        try:
            make_folder(folder)
            with write_lock(folder, timeout=_WAIT_S):
                if not store.is_new_folder(folder):
                    raise StateError(f"{folder} was made into a gallery by another process; open it instead")
                store.write_state(folder, state, None)
        except OSError as error:
            raise CompatError(f"cannot create gallery {folder}: {error.strerror or error}") from error
        return cls(folder, Snapshot(folder, state, (), ((), ())), True)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        verify: bool = True,
        public_key: str | os.PathLike[str] | None = None,
        trust: str | os.PathLike[str] | Trust | None = None,
        space: str | None = None,
    ) -> Gallery:
        """Open a gallery, for reading and writing.

        Args:
            path: Folder of the gallery; or the address of a Qdrant collection, see `compat_sdk.gallery.remote`.
            verify: Compare the SHA-256 of every vector file first (about a second per GB). Sizes, tables and
                gallery.json are always checked, an index always before it is used.
            public_key: PEM file of a public key: require that its owner signed the gallery as it is. The signature
                vouches for its index too.
            trust: Require the signature of a maker that is known, see `compat_sdk.bundle.trust`.
            space: The space that its vectors must be in; a collection that names none needs to be told.

        Raises:
            IncompatibleSpaceError: It is in another space.
            GalleryError: No gallery, a damaged one, one of a later version, or not signed as is asked for.
            ConfigError: The key or the trust file cannot be used, or ``verify`` is False beside one of them.
            MissingExtraError: A signature is asked for and model-signing is not installed.
        """
        wanted = trust_of(public_key, trust)
        if wanted is not None and not verify:
            raise ConfigError("verify is False, but a signature says nothing of files that are not compared; leave it")
        if is_address(path):
            from compat_sdk.gallery.remote import open_collection

            return open_collection(path, space, trust=wanted)
        snapshot = load_snapshot(Path(path), verify, trust=wanted)
        require_space(str(path), snapshot.state.space, space)
        return cls(Path(path), snapshot, verify, wanted)

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
    def is_signed(path: str | os.PathLike[str]) -> bool:
        """Whether a signature is there; only opening with a public key or a trust file tells whether it holds."""
        return os.path.lexists(Path(path) / store.SIGNATURE)

    def sign(
        self,
        private_key: str | os.PathLike[str],
        *,
        name: str | None = None,
        release: int | None = None,
        expires: str | None = None,
        allow_older: bool = False,
        timeout: float = _WAIT_S,
    ) -> Release:
        """Check every file and sign the gallery as it is; any later change makes the signature void, and deletes it.

        Signed is gallery.json, which has the digests of all vectors, ids, labels and of the index, and which version
        of the gallery this is: a trust file refuses what is below its ``least_release``.

        Args:
            private_key: PEM file of the private key, see `compat_sdk.bundle.signature`.
            name: Of the gallery, 1 to 120 printable characters; None for that of its last signature, or the folder's.
            release: Counts the signed versions of one name, from 1; None for one more than the last.
            expires: Last day on which the signature counts, ``YYYY-MM-DD`` in UTC; None for no such day.
            allow_older: Take a release below that of the last signature.
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.

        Returns:
            Which version was signed.

        Raises:
            GalleryError: A file is damaged, or the index was not built here: signing would vouch for it.
            ConfigError: The key cannot be used, a value is out of its range, or the release below the last one.
            MissingExtraError: model-signing is not installed.
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        with writing(self.path, self._snapshot, self._verify, timeout) as snapshot:
            self._snapshot = snapshot
            data = store.read_state_bytes(self.path)
            problems = (
                [f"{self.path} changed meanwhile; try again"] if not snapshot.is_of(data) else snapshot.problems()
            )
            if snapshot.index_is_foreign:
                problems.append(f"the index was not built here; repair it first: compat-sdk index repair {self.path}")
            if problems:
                raise GalleryError(f"{self.path} cannot be signed: {problems[0]}")
            made = next_release(self.path, name, release, expires, allow_older=allow_older)
            contents = {STATE_FILE: data, RELEASE_FILE: made.to_bytes()}
            signature = make_signature(contents, private_key)
            write_atomic(self.path / RELEASE_FILE, contents[RELEASE_FILE])
            write_atomic(self.path / store.SIGNATURE, signature)
            return made

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

    def add(
        self,
        embeddings: Embeddings,
        ids: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        payload: Sequence[Mapping[str, object]] | None = None,
        timeout: float = _WAIT_S,
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
        vectors = own_vectors(embeddings, self._snapshot.state)
        names, tags = check_names(ids, labels, len(vectors))
        beside = check_payload(payload, names)
        if not names:
            return

        def step(snapshot: Snapshot) -> Snapshot:
            vectors = own_vectors(embeddings, snapshot.state)  # it may have been cut over to another space since
            known = [name for name in names if name in snapshot.row_of]
            if known:
                raise DataError(
                    f"{len(known)} ids are in the gallery already: {', '.join(known[:10])}; remove them first"
                )
            if payload is not None or has_payload(self.path):  # or a removed row of this id would lend it its own
                append_payload(self.path, beside)
            return append(snapshot, vectors, names, tags)

        self._change(step, timeout)

    def remove(self, ids: Iterable[str], *, timeout: float = _WAIT_S) -> int:
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

    def compact(self, *, timeout: float = _WAIT_S) -> None:
        """Merge all segments into one; rows, their order and a fresh index stay as they are.

        Args:
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.

        Raises:
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        self._change(compact, timeout)

    @staticmethod
    def compact_folder(path: str | os.PathLike[str], *, timeout: float = _WAIT_S) -> None:
        """Merge all segments of a gallery that has more files than this process may open; see `compact`.

        Args:
            path: Folder of the gallery.
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.

        Raises:
            GalleryError: No gallery, or a damaged one.
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        compact_folder(Path(path), timeout)

    def build_index(
        self, kind: str = "usearch", *, recall: float | None = None, timeout: float = _WAIT_S, **options: int
    ) -> None:
        """Build an approximate index over the present rows, and store it.

        Args:
            kind: ``"usearch"``, ``"hnswlib"``, ``"faiss-hnsw"`` or ``"faiss-ivfpq"``.
            recall: What the index is to find of the 10 nearest rows, such as 0.99: its settings are then chosen by
                measurement on rows of the gallery, see `compat_sdk.index.build_measured`, and `info` tells what was
                measured. None builds it with the defaults, or as ``options`` say.
            timeout: Seconds to wait while others write, first come first served; 0 does not wait.
            **options: ``threads``, and those of `compat_sdk.index.options.GraphOptions` or
                `compat_sdk.index.options.ListOptions`.

        Raises:
            ConfigError: Unknown kind or option, an option out of its range, or a recall out of reach.
            MissingExtraError: The extra of that index is not installed.
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        self._change(lambda snapshot: build_index(snapshot, kind, recall, options), timeout)

    def repair(self) -> list[str]:
        """Build a damaged, stale or foreign index again from the vectors, and return what was done.

        Damaged vectors cannot be repaired: `open` refuses them.

        Raises:
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        self._snapshot = snapshot = self._reloaded(self._verify)
        reasons = ["it is stale"] if not snapshot.state.index_is_fresh else snapshot.index_problems()
        if not reasons and snapshot.index_is_foreign:
            reasons = ["it was not built here"]
        if snapshot.state.index is None or not reasons:
            return []
        self._change(build_index_again, _WAIT_S)
        kind = self._snapshot.state.index and self._snapshot.state.index.kind
        return [f"rebuilt the {kind} index: {reason}" for reason in reasons]

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
        beside = read_payload(self.path, ids)
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
        return snapshot

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
