"""A gallery in a Qdrant collection: it answers what a folder answers, and refuses what concerns files.

    Gallery.open("qdrant://localhost:6333/photos")
    Gallery.open("qdrant+path:/data/qdrant#photos")

Its rows are changed here; what it holds and finds is in `compat_sdk.gallery.remote_reading`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.trust import Trust
from compat_sdk.errors import ConfigError, DataError, StoreError
from compat_sdk.gallery.given import own_vectors
from compat_sdk.gallery.payload import check_payload
from compat_sdk.gallery.remote_reading import RemoteReader
from compat_sdk.gallery.writer import check_names
from compat_sdk.shown import shown_names
from compat_sdk.space import Embeddings
from compat_sdk.stores import Rows
from compat_sdk.stores.addresses import QdrantAddress, parse_address
from compat_sdk.stores.points import ORIGIN_FIELD
from compat_sdk.stores.qdrant import Collection


def open_collection(
    place: str | os.PathLike[str], space: str | None = None, *, trust: Trust | None = None
) -> RemoteGallery:
    """The gallery of an address; see `compat_sdk.stores.addresses`.

    Args:
        place: The address.
        space: The space that its vectors must be in; needed where the collection names none.
        trust: Refused, since nobody signs a collection.

    Raises:
        ConfigError: The address is malformed, or the collection names no space and none is told.
        IncompatibleSpaceError: It is in another space than was told.
        StoreError: The store is away, refuses, or has no such collection.
        MissingExtraError: qdrant-client is not installed.
    """
    address = parse_address(place)
    if trust is not None:
        raise ConfigError(f"a signature is asked for, but {address} is a collection, which has none; leave that out")
    collection = Collection.connect(address)
    try:
        return RemoteGallery(collection, space)
    except BaseException:
        collection.close()
        raise


class RemoteGallery(RemoteReader):
    """Stored vectors of one space in a collection; everyone who searches it sees every change at once."""

    @classmethod
    def of_client(cls, client: Any, collection: str, *, space: str | None = None) -> RemoteGallery:
        """The gallery in a collection of a client of qdrant-client, such as ``QdrantClient(":memory:")``."""
        return cls(Collection(client, QdrantAddress(collection)), space)

    def add(
        self,
        embeddings: Embeddings,
        ids: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        payload: Sequence[Mapping[str, object]] | None = None,
        timeout: float = 0.0,
    ) -> None:
        """Append vectors; all of them are in the store when this returns.

        A store has no change of many points in one step: if it fails on the way, those that were written are deleted.

        Raises:
            IncompatibleSpaceError: The vectors are in another space.
            VectorError: Wrong dimension, or vectors that no index may see.
            DataError: Ids or labels are missing, repeated or not strings, or in the collection already.
            StoreError: The store is away or refuses.
        """
        vectors = self._own(embeddings)
        names, tags = check_names(ids, labels, len(vectors))
        check_payload(payload, names)
        known = self._collection.retrieve(names, vectors=False).ids
        if known:
            raise DataError(f"{len(known)} ids are in the gallery already: {shown_names(known)}; remove them first")
        try:
            self._collection.upsert(Rows.of(names, vectors, tags, payload))
        except StoreError:
            self._collection.delete(names)
            raise

    def replace(self, embeddings: Embeddings, ids: Sequence[str], *, timeout: float = 0.0) -> None:
        """Put other vectors in the place of those of some rows, which keep their labels and what is beside them.

        Raises:
            IncompatibleSpaceError: The vectors are in another space.
            VectorError: Wrong dimension, or vectors that no index may see.
            DataError: Ids are missing or repeated, or not in the collection.
            StoreError: The store is away or refuses.
        """
        vectors = self._own(embeddings)
        names, _ = check_names(ids, None, len(vectors))
        found = self.get(names)
        self._collection.upsert(Rows.of(names, vectors, found.labels, found.payload))

    def origins(self, ids: Sequence[str]) -> dict[str, str]:
        """What `note_origins` said of these rows, by id; empty for those of which it said nothing."""
        return self._collection.noted(ids, ORIGIN_FIELD)

    def note_origins(self, origins: Mapping[str, str]) -> None:
        """Note, by id, which picture rows were embedded from; a row that is replaced loses its note."""
        self._collection.note(ORIGIN_FIELD, origins)

    def _own(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """The vectors of Embeddings that may become rows of the collection."""
        shape = self._shape()
        return own_vectors(embeddings, self._space_of(shape), shape.dim)

    def remove(self, ids: Iterable[str], *, timeout: float = 0.0) -> int:
        """Delete rows by id, and return how many there were; ids that are not in the collection are passed over."""
        if isinstance(ids, str):
            raise DataError(f"ids is the string {ids!r}, expected a list of ids")
        known = self._collection.retrieve(list(set(ids)), vectors=False).ids
        self._collection.delete(known)
        return len(known)
