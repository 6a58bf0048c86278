"""A gallery that is made, opened and changed.

The stored vectors are the truth; an index is a cache that can be built again at any time. A change is on disk when the
call returns, and a process killed at any moment leaves the state before or after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from compat_sdk.bundle.trust import Trust, trust_of
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.gallery import store
from compat_sdk.gallery.creating import create_folder
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.payload import append_payload, check_payload, has_payload
from compat_sdk.gallery.reading import Reader
from compat_sdk.gallery.release import Release
from compat_sdk.gallery.signing import sign_folder
from compat_sdk.gallery.snapshot import Snapshot, own_vectors
from compat_sdk.gallery.writer import (
    append,
    build_index,
    build_index_again,
    check_names,
    compact,
    compact_folder,
    replace_rows,
    select,
    writing,
)
from compat_sdk.kinds import is_address
from compat_sdk.shown import shortened
from compat_sdk.space import Embeddings, require_space

_WAIT_S = 60.0
"""Seconds for which a change waits while others write."""


class Gallery(Reader):
    """Stored vectors of one space. Readers see the state they opened; one process writes at a time."""

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
        snapshot = create_folder(Path(path), space, dim, model, dtype)
        return cls(snapshot.folder, snapshot, True)

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
            return sign_folder(snapshot, private_key, name, release, expires, allow_older=allow_older)

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
                shown = shortened(", ".join(known[:10]))
                raise DataError(f"{len(known)} ids are in the gallery already: {shown}; remove them first")
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

    def replace(self, embeddings: Embeddings, ids: Sequence[str], *, timeout: float = _WAIT_S) -> None:
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
        names, _ = check_names(ids, None, len(own_vectors(embeddings, self._snapshot.state)))
        if not names:
            return

        def step(snapshot: Snapshot) -> Snapshot:
            vectors = own_vectors(embeddings, snapshot.state)
            unknown = [name for name in names if name not in snapshot.row_of]
            if unknown:
                raise DataError(
                    f"{len(unknown)} ids are not in the gallery: {shortened(', '.join(unknown[:10]))}; add them instead"
                )
            rows = np.array([snapshot.row_of[name] for name in names], np.int64)
            order = np.argsort(rows)
            return replace_rows(snapshot, vectors[order], rows[order])

        self._change(step, timeout)

    def compact(self, *, timeout: float = _WAIT_S) -> None:
        """Merge all segments into one; rows, their order and a fresh index stay as they are; see `add` for ``timeout``.

        Raises:
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        self._change(compact, timeout)

    @staticmethod
    def compact_folder(path: str | os.PathLike[str], *, timeout: float = _WAIT_S) -> None:
        """Merge all segments of a gallery that has more files than this process may open; see `compact`.

        Raises:
            GalleryError: No gallery, or a damaged one; and what `compact` raises.
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
