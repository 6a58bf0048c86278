"""What a gallery in a Qdrant collection holds and finds.

The space of its vectors stands in the collection's metadata. It is compared before every search and again after it,
because an alias may be moved to another collection at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError, StoreError, VectorError
from compat_sdk.gallery.conditions import condition_of
from compat_sdk.gallery.given import checked
from compat_sdk.gallery.reading import Hit
from compat_sdk.gallery.where import Where
from compat_sdk.gallery.without_files import WithoutFiles
from compat_sdk.index import check_k
from compat_sdk.shown import shown_value
from compat_sdk.space import Embeddings, check_space, covers_all, require_compatible, require_space
from compat_sdk.stores import Rows
from compat_sdk.stores.points import Shape
from compat_sdk.stores.qdrant import Collection
from compat_sdk.unit import check_rows

_ROUNDED = 1 + 1e-5
"""What an inner product of vectors of length 1 may be in float32."""


class RemoteReader(WithoutFiles):
    """Stored vectors of one space in a collection, for reading: every call sees the collection as it is."""

    def __init__(self, collection: Collection, space: str | None = None) -> None:
        """Wrap a collection.

        Args:
            collection: Of a client, see `of_client`.
            space: The space that its vectors must be in; needed where the collection names none.

        Raises:
            ConfigError: The collection names no space and none is told, or compares by distance.
            IncompatibleSpaceError: It is in another space than was told.
            StoreError: The store is away, or its last export did not end.
        """
        self._collection = collection
        self._told = None if space is None else check_space(space)
        self._address, self._name = collection.address, str(collection.address)
        self.path = Path(str(collection.address))
        shape = self._shape()
        if shape.distance == "l2":
            raise ConfigError(
                f"{self._address} compares by Euclidean distance; expected cosine or dot: export it into one that does"
            )

    def close(self) -> None:
        """Let the connection go, and a folder for other processes."""
        self._collection.close()

    def _shape(self) -> Shape:
        """What the collection says now; its space is the one that was told, or that it names."""
        shape = self._collection.shape()
        if shape.unfinished:
            raise StoreError(f"an export into {self._address} did not end; run it again")
        if shape.space is None and self._told is None:
            raise ConfigError(
                f"{self._address} names no space, so that nobody knows what may search it; tell it: --space or space="
            )
        if shape.space is not None:
            require_space(str(self._address), shape.space, self._told)
        return shape

    def _space_of(self, shape: Shape) -> str:
        return shape.space or self._told or ""

    def __len__(self) -> int:
        return self._collection.count()

    @property
    def space(self) -> str:
        """Embedding space of every vector in the collection, as its metadata says now."""
        return self._space_of(self._shape())

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self._shape().dim

    @property
    def model(self) -> Mapping[str, object]:
        """Nothing: a collection does not say which model made its vectors."""
        return {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of every row, in the order of the store; all of them are read."""
        return tuple(id for rows in self._collection.scroll(vectors=False) for id in rows.ids)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of every row in the order of ``ids``, empty where none was given; all of them are read."""
        return tuple(label for rows in self._collection.scroll(vectors=False) for label in rows.labels)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """``[n, dim]`` float32 in the order of ``ids``, as the store has them; all of them are read."""
        empty = np.empty((0, self.dim), np.float32)
        return np.concatenate([empty, *(rows.vectors for rows in self._collection.scroll())])

    @property
    def distance(self) -> str:
        """By what the store compares, ``"cosine"`` or ``"dot"``."""
        return self._shape().distance

    def held(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the collection."""
        return set(self._collection.retrieve(list(set(ids)), vectors=False).ids)

    def reload(self) -> bool:
        """Do nothing: every call sees the collection as it is."""
        return False

    def info(self) -> dict[str, object]:
        """Return what there is to know, ready for JSON, with the keys that a folder's has."""
        shape, labels = self._shape(), set(self.labels)
        space = self._space_of(shape)
        return {
            "path": str(self._address),
            "space": space,
            "space_covers": "all" if covers_all(space) else "weights",
            "dim": shape.dim,
            "dtype": "float32",
            "rows": len(self),
            "labels": len(labels - {""}),
            "segments": 1,
            "bytes": 4 * shape.dim * len(self),
            "generation": 0,
            "model": {},
            "index": None,
            "foreign_index": False,
            "search": f"qdrant ({shape.distance})",
            "signed": False,
            "signed_by": None,
        }

    def get(self, ids: Sequence[str]) -> Rows:
        """Return the rows of some ids, in their order: vectors, labels and what is kept beside them.

        Raises:
            DataError: An id is not in the collection.
        """
        found = self._collection.retrieve(list(dict.fromkeys(ids)))
        row_of = {id: row for row, id in enumerate(found.ids)}
        missing = [id for id in ids if id not in row_of]
        if missing:
            raise DataError(f"{len(missing)} ids are not in the gallery, such as {shown_value(missing[0])}")
        rows = [row_of[id] for id in ids]
        labels, payload = [found.labels[row] for row in rows], [found.payload[row] for row in rows]
        return Rows.of(list(ids), found.vectors[rows], labels, payload)

    def search(
        self, query: Embeddings, k: int = 10, *, index: str = "auto", where: Where | None = None
    ) -> list[list[Hit]]:
        """Find the nearest stored images of every query, as `Gallery.search` does.

        Args:
            query: ``[q, dim]`` vectors that may search this collection's space.
            k: Hits wanted per query, at least 1.
            index: ``"auto"``, the store's own index, or ``"exact"``.
            where: Which rows may be found; the store looks at them alone.

        Returns:
            For each query its hits, best first. A store that compares by inner product gives that as the score: the
            cosine where its vectors have length 1.

        Raises:
            IncompatibleSpaceError: The query's space is not declared compatible.
            VectorError: Not Embeddings, or vectors of another dimension or not of unit norm.
            ConfigError: ``k`` or ``index`` is out of range.
            StoreError: The store is away or refuses.
        """
        if index not in ("auto", "exact"):
            raise ConfigError(f"index is {shown_value(index)}; expected 'auto' or 'exact' of a collection")
        k = check_k(k)
        while True:
            shape = self._shape()
            if isinstance(query, Embeddings):
                require_compatible(query, self._space_of(shape))
            vectors = checked(query, shape.dim)
            condition = None if where is None else condition_of(where)
            found = self._collection.nearest(vectors, k, condition, exact=index == "exact")
            if self._shape() == shape:
                break
        return [
            [
                Hit(id, label, _within_1(score) if shape.distance == "cosine" or abs(score) < _ROUNDED else score)
                for id, label, score in hits
            ]
            for hits in found
        ]

    def verify(self) -> list[str]:
        """Check every vector and id in the collection; what is wrong, one sentence each."""
        found, times = list[str](), Counter[str]()
        for rows in self._collection.scroll():
            times.update(rows.ids)
            try:
                check_rows(rows.vectors, "vectors of the collection", "embed their images again")
            except VectorError as error:
                found.append(f"{error} (first id {shown_value(rows.ids[error.rows[0]])})")
        repeated = [id for id, count in times.items() if count > 1]
        if repeated:
            found.append(f"{len(repeated)} ids occur more than once, such as {shown_value(repeated[0])}")
        return found


def _within_1(score: float) -> float:
    return max(-1.0, min(1.0, score))
