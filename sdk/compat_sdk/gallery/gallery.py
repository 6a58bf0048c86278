"""A gallery that is made, opened, signed, and tidied up; changing its rows is a half of its own.

The stored vectors are the truth; an index is a cache that can be built again at any time. A change is on disk when the
call returns, and a process killed at any moment leaves the state before or after it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from compat_sdk.bundle.trust import Trust, trust_of
from compat_sdk.errors import ConfigError
from compat_sdk.gallery.changing import WAIT_S, Changing
from compat_sdk.gallery.creating import create_folder
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.part_list import Place, parts_of
from compat_sdk.gallery.problems import index_problems
from compat_sdk.gallery.release import Release
from compat_sdk.gallery.signing import sign_folder
from compat_sdk.gallery.writer import (
    build_index,
    build_index_again,
    compact,
    compact_folder,
    writing,
)
from compat_sdk.kinds import is_address
from compat_sdk.space import require_space


class Gallery(Changing):
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
        path: Place | Sequence[Place],
        *,
        verify: bool = True,
        public_key: str | os.PathLike[str] | None = None,
        trust: str | os.PathLike[str] | Trust | None = None,
        space: str | None = None,
    ) -> Gallery:
        """Open a gallery, for reading and writing.

        Args:
            path: Folder of the gallery; the address of a Qdrant collection, see `compat_sdk.gallery.remote`; or several
                of either, or a list of them in a file, which become one gallery, see `compat_sdk.gallery.parts`.
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
        place, *more = parts_of(path)
        if more:
            from compat_sdk.gallery.parts import open_parts

            name = os.fspath(path) if isinstance(path, str | os.PathLike) else " + ".join([place, *more])
            return open_parts(name, [place, *more], verify=verify, trust=wanted, space=space)
        if is_address(place):
            from compat_sdk.gallery.remote import open_collection

            return open_collection(place, space, trust=wanted)
        snapshot = load_snapshot(Path(place), verify, trust=wanted)
        require_space(place, snapshot.state.space, space)
        return cls(Path(place), snapshot, verify, wanted)

    def sign(
        self,
        private_key: str | os.PathLike[str],
        *,
        name: str | None = None,
        release: int | None = None,
        expires: str | None = None,
        allow_older: bool = False,
        timeout: float = WAIT_S,
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

    def compact(self, *, timeout: float = WAIT_S) -> None:
        """Merge all segments into one; rows, their order and a fresh index stay as they are; see `add` for ``timeout``.

        Raises:
            GalleryLockedError: Another process is writing.
            CompatError: The disk is full or the folder cannot be written; nothing was changed.
        """
        self._change(compact, timeout)

    @staticmethod
    def compact_folder(path: str | os.PathLike[str], *, timeout: float = WAIT_S) -> None:
        """Merge all segments of a gallery that has more files than this process may open; see `compact`.

        Raises:
            GalleryError: No gallery, or a damaged one; and what `compact` raises.
        """
        compact_folder(Path(path), timeout)

    def build_index(
        self, kind: str = "usearch", *, recall: float | None = None, timeout: float = WAIT_S, **options: int
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
        reasons = ["it is stale"] if not snapshot.state.index_is_fresh else index_problems(snapshot)
        if not reasons and snapshot.index_is_foreign:
            reasons = ["it was not built here"]
        if snapshot.state.index is None or not reasons:
            return []
        self._change(build_index_again, WAIT_S)
        kind = self._snapshot.state.index and self._snapshot.state.index.kind
        return [f"rebuilt the {kind} index: {reason}" for reason in reasons]
