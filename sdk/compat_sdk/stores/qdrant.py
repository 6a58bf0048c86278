"""One collection of Qdrant, on a server or in a folder of its client; needs the extra ``qdrant``.

The space of its vectors lies in the metadata of the collection:

    {"compat_sdk": {"spaces": {"": "clip-vit-b32"}}}       by the name of the vectors, empty for those without one
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, StoreError
from compat_sdk.shown import shortened
from compat_sdk.space import check_space
from compat_sdk.stores.addresses import QdrantAddress
from compat_sdk.stores.ordered import PointId, page_starts, pages
from compat_sdk.stores.points import (
    ID_FIELD,
    SOURCE_FIELD,
    Shape,
    notes_of,
    point_id,
    point_names,
    points_of,
    rows_of,
)
from compat_sdk.stores.qdrant_client import answered, client_at, client_module
from compat_sdk.stores.rows import LABEL_NAME, Distance, Rows

_NOTE = "compat_sdk"
UPGRADE = "upgrade"
"""Key of a note that an upgrade leaves, see `compat_sdk.upgrade.collection`."""
_ROWS_PER_CALL = 256
_DISTANCES: Mapping[str, Distance] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2"}


def collection_for(alias: str, space: str) -> str:
    """Name of the collection of one space to which an alias may lead."""
    return f"{alias}--{space}"


class Collection:
    """A collection and the client through which it is reached; every refusal of either is a StoreError."""

    def __init__(self, client: Any, address: QdrantAddress) -> None:
        """Wrap a client of qdrant-client; nothing is asked yet."""
        self.client, self.address = client, address

    @classmethod
    def connect(cls, address: QdrantAddress, *, new: bool = False) -> Collection:
        """The collection of an address.

        Args:
            address: Where it is.
            new: Whether a folder may be made for it.

        Raises:
            StoreError: The folder is not there, or another process uses it.
            MissingExtraError: qdrant-client is not installed.
        """
        return cls(client_at(address, new=new), address)

    def close(self) -> None:
        """Let the connection, or the folder, go."""
        self.client.close()

    def exists(self) -> bool:
        """Whether there is such a collection or alias."""
        with self._answers():
            there = bool(self.client.collection_exists(self.address.collection))
        return there or self.address.collection in self.aliases()

    def shape(self) -> Shape:
        """What the collection says of itself now.

        Raises:
            StoreError: It is away, or its vectors are of a kind that is not read here.
            ConfigError: It has several kinds of vectors, and none is named.
        """
        with self._answers():
            config = self.client.get_collection(self.address.collection).config
        vectors = config.params.vectors
        name = self.address.vector or ""
        if isinstance(vectors, Mapping):
            name = next(iter(vectors)) if self.address.vector is None and len(vectors) == 1 else name
            if name not in vectors:
                raise ConfigError(
                    f"{self.address} has the vectors {shortened(', '.join(sorted(vectors)), 100)}; name one of them, "
                    f"as ?vector=NAME at the end of the address"
                )
            vectors = vectors[name]
        elif vectors is None or self.address.vector is not None:
            raise StoreError(f"{self.address} has no such vectors; expected dense ones of this name")
        distance = _DISTANCES.get(str(getattr(vectors.distance, "value", vectors.distance)))
        if distance is None or vectors.multivector_config is not None:
            raise StoreError(f"{self.address} holds several vectors per point, or compares by Manhattan; not read here")
        note = (config.metadata or {}).get(_NOTE)
        note = dict(note) if isinstance(note, Mapping) else {}
        spaces = note.get("spaces")
        space = spaces.get(name) if isinstance(spaces, Mapping) else None
        unfinished = note.get("unfinished") is True
        return Shape(
            int(vectors.size), distance, None if space is None else check_space(space), unfinished, name, dict(note)
        )

    def create(self, dim: int, distance: Distance) -> None:
        """Make the collection, marked as unfinished until `finish` names its space.

        Raises:
            StoreError: It is there already, or the store refuses.
        """
        module = client_module()
        names = {found: name for name, found in _DISTANCES.items()}
        params = module.models.VectorParams(size=dim, distance=module.models.Distance(names[distance]))
        config = params if self.address.vector is None else {self.address.vector: params}
        note = {_NOTE: {"unfinished": True}}
        with self._answers():
            self.client.create_collection(self.address.collection, vectors_config=config, metadata=note)

    def finish(self, space: str, **more: object) -> None:
        """Note the space of the vectors, and more; from now on it may be searched."""
        self.write_note({"spaces": {self.address.vector or "": space}, **more})

    def write_note(self, note: Mapping[str, object]) -> None:
        """Put a note in the place of the one that the collection's metadata have under ``compat_sdk``."""
        with self._answers():
            self.client.update_collection(self.real_name(), metadata={_NOTE: dict(note)})

    def named(self, collection: str) -> Collection:
        """Another collection of the same client."""
        return Collection(self.client, replace(self.address, collection=collection))

    def aliases(self) -> dict[str, str]:
        """The collection behind each alias of the store."""
        with self._answers():
            return {found.alias_name: found.collection_name for found in self.client.get_aliases().aliases}

    def collections(self) -> list[str]:
        """Names of all collections of the store."""
        with self._answers():
            return sorted(found.name for found in self.client.get_collections().collections)

    def real_name(self) -> str:
        """Name of the collection itself, where the address has that of an alias."""
        return self.aliases().get(self.address.collection, self.address.collection)

    def lead(self, alias: str) -> None:
        """Make an alias lead to this collection, in one step, wherever it led before."""
        models, known = client_module().models, alias in self.aliases()
        gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
        made = models.CreateAlias(collection_name=self.address.collection, alias_name=alias)
        steps = [*([gone] if known else []), models.CreateAliasOperation(create_alias=made)]
        with self._answers():
            self.client.update_collection_aliases(steps)

    def drop(self) -> None:
        """Delete the collection and all that is in it; aliases of it are gone too."""
        with self._answers():
            self.client.delete_collection(self.real_name())

    def count(self) -> int:
        """How many points there are."""
        with self._answers():
            return int(self.client.count(self.address.collection, exact=True).count)

    def scroll(
        self,
        label: str = LABEL_NAME,
        *,
        vectors: bool = True,
        first: PointId | None = None,
        end: PointId | None = None,
    ) -> Iterator[Rows]:
        """All points in the order of their ids, a few at a time; without vectors these have no numbers.

        Args:
            label: Field that is the label.
            vectors: Whether to read the vectors too.
            first: The point to begin with, or where it would be; None for the beginning.
            end: The point before which to end; None for the end.

        Raises:
            StoreError: The store is away or refuses.
            CorruptFileError: A point has no such vector, or a label that is no text.
        """
        shape = self.shape()
        which = _which(shape) if vectors else False
        for records in pages(lambda point: self._page(point, _ROWS_PER_CALL, True, which), first, end):
            yield rows_of(records, shape, label, vectors=vectors)

    def every(self, points: int) -> Iterator[PointId]:
        """Each point that is a multiple of so many away from the first one, in the order of `scroll`.

        Raises:
            StoreError: The store is away or refuses.
        """
        yield from page_starts(lambda point: self._page(point, points, False, False))

    def _page(
        self, first: PointId | None, limit: int, payload: bool, vectors: list[str] | bool
    ) -> tuple[list[Any], PointId | None]:
        with self._answers():
            records, following = self.client.scroll(
                self.address.collection, limit=limit, offset=first, with_payload=payload, with_vectors=vectors
            )
        return records, following

    def retrieve(self, ids: Sequence[str], *, vectors: bool = True) -> Rows:
        """The points of some ids, those that are there, in the store's order."""
        shape, records = self.shape(), list[Any]()
        for start in range(0, len(ids), _ROWS_PER_CALL):
            wanted = [point_id(id) for id in ids[start : start + _ROWS_PER_CALL]]
            with self._answers():
                records += self.client.retrieve(
                    self.address.collection, wanted, with_payload=True, with_vectors=_which(shape) if vectors else False
                )
        return rows_of(records, shape, LABEL_NAME, vectors=vectors)

    def noted(self, ids: Sequence[str], field: str) -> dict[str, str]:
        """What a field of ours says of each of these points; empty where it says nothing."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), _ROWS_PER_CALL):
            wanted = [point_id(id) for id in ids[start : start + _ROWS_PER_CALL]]
            with self._answers():
                points = self.client.retrieve(
                    self.address.collection, wanted, with_payload=[ID_FIELD, field], with_vectors=False
                )
            for point in points:
                found[point_names(point)[0]] = str((point.payload or {}).get(field, ""))
        return found

    def sources(self, ids: Sequence[str]) -> dict[str, str]:
        """What each of these points was made of, as `upsert` was told; empty for those that nobody told of."""
        return self.noted(ids, SOURCE_FIELD)

    def note(self, field: str, values: Mapping[str, str]) -> None:
        """Say something of points under a field of ours, by id; what else stands beside them stays."""
        steps = notes_of(field, values)
        for start in range(0, len(steps), _ROWS_PER_CALL):
            with self._answers():
                self.client.batch_update_points(self.address.collection, steps[start : start + _ROWS_PER_CALL])

    def upsert(self, rows: Rows, sources: Sequence[str] | None = None) -> None:
        """Write rows; a point of the same id is replaced.

        Args:
            rows: Of the collection's dimension.
            sources: What each was made of, kept in the field ``compat_source``; none for rows that are themselves.

        Raises:
            DataError: An id or label is no valid Unicode, which JSON cannot carry.
            StoreError: The store is away or refuses.
        """
        points = points_of(rows, self.address.vector or "", sources)
        for start in range(0, len(points), _ROWS_PER_CALL):
            with self._answers():
                self.client.upsert(self.address.collection, points[start : start + _ROWS_PER_CALL], wait=True)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete the points of some ids; those that are not there are passed over."""
        points = [point_id(id) for id in ids]
        for start in range(0, len(points), _ROWS_PER_CALL):
            with self._answers():
                self.client.delete(self.address.collection, points[start : start + _ROWS_PER_CALL], wait=True)

    def nearest(
        self, queries: NDArray[np.float32], k: int, condition: Any, *, exact: bool
    ) -> list[list[tuple[str, str, float]]]:
        """Id, label and score of the nearest points of each query, best first.

        Args:
            queries: float32 ``[q, dim]``.
            k: How many, at least 1.
            condition: A filter of qdrant-client, or None.
            exact: Whether to compare with every point.
        """
        models, shape = client_module().models, self.shape()
        local = self.address.folder is not None or not self.address.host  # which is exact always, and warns if told
        params = models.SearchParams(exact=True) if exact and not local else None
        found: list[list[tuple[str, str, float]]] = []
        for start in range(0, len(queries), _ROWS_PER_CALL):
            requests = [
                models.QueryRequest(
                    query=query.tolist(),
                    using=shape.vector or None,
                    limit=k,
                    filter=condition,
                    params=params,
                    with_payload=[LABEL_NAME, ID_FIELD],
                )
                for query in queries[start : start + _ROWS_PER_CALL]
            ]
            with self._answers():
                answers = self.client.query_batch_points(self.address.collection, requests)
            for answer in answers:
                named = [(*point_names(point)[:2], float(point.score)) for point in answer.points]
                found.append(named)
        return found

    @contextmanager
    def _answers(self) -> Iterator[None]:
        with answered(self.address):
            yield


def _which(shape: Shape) -> list[str] | bool:
    return [shape.vector] if shape.vector else True
