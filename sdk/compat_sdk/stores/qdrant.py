"""One collection of Qdrant, on a server or in a folder of its client; needs the extra ``qdrant``.

The space of its vectors lies in the metadata of the collection:

    {"compat_sdk": {"spaces": {"": "clip-vit-b32"}}}       by the name of the vectors, empty for those without one

Ids of points are whole numbers and UUIDs. An id that is neither becomes a UUID that follows from it, and stands in the
point's payload as ``compat_id``. A label is the field ``label``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, CorruptFileError, DataError, MissingExtraError, StoreError
from compat_sdk.shown import shortened, shown_value, without_keys
from compat_sdk.space import check_space
from compat_sdk.stores.addresses import KEY_VARIABLE, QdrantAddress
from compat_sdk.stores.rows import LABEL_NAME, Distance, Rows, id_text, payload_object

_ID_FIELD = "compat_id"
_NOTE = "compat_sdk"
_OURS = uuid.UUID("6c1b5b3e-3f0c-5f0e-9d0b-0d6f4f6a7a11")
_ROWS_PER_CALL = 256
_SECONDS = 60
_DISTANCES: Mapping[str, Distance] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2"}


@dataclass(frozen=True)
class Shape:
    """What a collection says of itself.

    Attributes:
        dim: Numbers per vector.
        distance: By what it compares.
        space: Embedding space of its vectors; None where nobody noted it.
        unfinished: Whether an export into it was begun and did not end.
        vector: Name of the vectors; empty for those without a name.
    """

    dim: int
    distance: Distance
    space: str | None
    unfinished: bool
    vector: str


def point_id(id: str) -> int | str:
    """The id of the point that a text names: the whole number or UUID that it is, or a UUID that follows from it."""
    if id.isascii() and id.isdigit() and str(int(id)) == id and int(id) < 1 << 64:
        return int(id)
    try:
        if str(uuid.UUID(id)) == id:
            return id
    except ValueError:
        pass
    return str(uuid.uuid5(_OURS, id))


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
        module = _module()
        if address.folder is None:
            client = module.QdrantClient(
                host=address.host,
                port=address.port,
                https=address.tls,
                api_key=address.key,
                timeout=_SECONDS,
                check_compatibility=False,
            )
            return cls(client, address)
        if not new and not (address.folder / "meta.json").is_file():
            raise StoreError(f"{address.folder} holds no collections: it has no meta.json; check the path")
        with _answered(address):
            return cls(module.QdrantClient(path=str(address.folder)), address)

    def close(self) -> None:
        """Let the connection, or the folder, go."""
        self.client.close()

    def exists(self) -> bool:
        """Whether there is such a collection or alias."""
        with self._answers():
            return bool(self.client.collection_exists(self.address.collection))

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
        note = note if isinstance(note, Mapping) else {}
        spaces = note.get("spaces")
        space = spaces.get(name) if isinstance(spaces, Mapping) else None
        unfinished = note.get("unfinished") is True
        return Shape(int(vectors.size), distance, None if space is None else check_space(space), unfinished, name)

    def create(self, dim: int, distance: Distance) -> None:
        """Make the collection, marked as unfinished until `finish` names its space.

        Raises:
            StoreError: It is there already, or the store refuses.
        """
        module = _module()
        names = {found: name for name, found in _DISTANCES.items()}
        params = module.models.VectorParams(size=dim, distance=module.models.Distance(names[distance]))
        config = params if self.address.vector is None else {self.address.vector: params}
        note = {_NOTE: {"unfinished": True}}
        with self._answers():
            self.client.create_collection(self.address.collection, vectors_config=config, metadata=note)

    def finish(self, space: str) -> None:
        """Note the space of the vectors; from now on it may be searched."""
        note = {_NOTE: {"spaces": {self.address.vector or "": space}}}
        with self._answers():
            self.client.update_collection(self.address.collection, metadata=note)

    def drop(self) -> None:
        """Delete the collection and all that is in it."""
        with self._answers():
            self.client.delete_collection(self.address.collection)

    def count(self) -> int:
        """How many points there are."""
        with self._answers():
            return int(self.client.count(self.address.collection, exact=True).count)

    def scroll(self, label: str = LABEL_NAME, *, vectors: bool = True) -> Iterator[Rows]:
        """All points in the order of their ids, a few at a time; without vectors these have no numbers.

        Args:
            label: Field that is the label.
            vectors: Whether to read the vectors too.

        Raises:
            StoreError: The store is away or refuses.
            CorruptFileError: A point has no such vector, or a label that is no text.
        """
        shape, offset = self.shape(), None
        while True:
            with self._answers():
                records, offset = self.client.scroll(
                    self.address.collection,
                    limit=_ROWS_PER_CALL,
                    offset=offset,
                    with_payload=True,
                    with_vectors=_which(shape) if vectors else False,
                )
            if records:
                yield self._rows(records, shape, label, vectors)
            if offset is None:
                return

    def retrieve(self, ids: Sequence[str], *, vectors: bool = True) -> Rows:
        """The points of some ids, those that are there, in the store's order."""
        shape, records = self.shape(), list[Any]()
        for start in range(0, len(ids), _ROWS_PER_CALL):
            wanted = [point_id(id) for id in ids[start : start + _ROWS_PER_CALL]]
            with self._answers():
                records += self.client.retrieve(
                    self.address.collection, wanted, with_payload=True, with_vectors=_which(shape) if vectors else False
                )
        return self._rows(records, shape, LABEL_NAME, vectors)

    def upsert(self, rows: Rows) -> None:
        """Write rows; a point of the same id is replaced.

        Raises:
            DataError: An id or label is no valid Unicode, which JSON cannot carry.
            StoreError: The store is away or refuses.
        """
        module = _module()
        for text in (*rows.ids, *rows.labels):
            if not text.isascii():
                _require_unicode(text)
        for start in range(0, len(rows), _ROWS_PER_CALL):
            points = []
            for row in range(start, min(start + _ROWS_PER_CALL, len(rows))):
                vector = rows.vectors[row].tolist()
                which = vector if self.address.vector is None else {self.address.vector: vector}
                id, label = rows.ids[row], rows.labels[row]
                beside = {} if str(point_id(id)) == id else {_ID_FIELD: id}
                payload = {**rows.payload[row], **({LABEL_NAME: label} if label else {}), **beside}
                points.append(module.models.PointStruct(id=point_id(id), vector=which, payload=payload))
            with self._answers():
                self.client.upsert(self.address.collection, points, wait=True)

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
        models, shape = _module().models, self.shape()
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
                    with_payload=[LABEL_NAME, _ID_FIELD],
                )
                for query in queries[start : start + _ROWS_PER_CALL]
            ]
            with self._answers():
                answers = self.client.query_batch_points(self.address.collection, requests)
            for answer in answers:
                named = [(*self._named(point, LABEL_NAME)[:2], float(point.score)) for point in answer.points]
                found.append(named)
        return found

    @contextmanager
    def _answers(self) -> Iterator[None]:
        with _answered(self.address):
            yield

    def _named(self, point: Any, label: str) -> tuple[str, str, dict[str, object]]:
        """Id, label and the rest of the payload of a point."""
        payload = dict(point.payload or {})
        try:
            id = id_text(payload.pop(_ID_FIELD, point.id))
            tag = payload.pop(label, None)
            return id, "" if tag is None else id_text(tag), payload_object(payload)
        except ValueError as error:
            raise CorruptFileError(
                f"{self.address}: point {point.id}: {shortened(str(error), 120)}; name another field for the label"
            ) from error

    def _rows(self, records: Sequence[Any], shape: Shape, label: str, vectors: bool) -> Rows:
        named = [self._named(record, label) for record in records]
        numbers = np.empty((len(records), shape.dim if vectors else 0), np.float32)
        for row, record in enumerate(records if vectors else ()):
            vector = record.vector.get(shape.vector) if isinstance(record.vector, Mapping) else record.vector
            if not isinstance(vector, list) or len(vector) != shape.dim:
                raise CorruptFileError(f"{self.address}: point {record.id} has no vector {shown_value(shape.vector)}")
            numbers[row] = vector
        return Rows(
            [id for id, _, _ in named], numbers, [tag for _, tag, _ in named], [beside for _, _, beside in named]
        )


def _which(shape: Shape) -> list[str] | bool:
    return [shape.vector] if shape.vector else True


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{shown_value(text)} is no valid Unicode, which this store cannot hold; rename it") from error


@contextmanager
def _answered(address: QdrantAddress) -> Iterator[None]:
    """Turn what the client raises into one line without a key; its own chain of errors ends here."""
    failure = None
    try:
        yield
    except _module().failures as error:
        failure = error
    if failure is not None:
        _refuse(address, failure)


def _refuse(address: QdrantAddress, error: Exception) -> NoReturn:
    status = getattr(error, "status_code", None)
    said = without_keys(shortened(" ".join(str(error).split()), 120))
    if address.key:
        said = said.replace(address.key, "***")
    if status in (401, 403):
        raise StoreError(f"{address} refuses the key, or wants one; set {KEY_VARIABLE}") from None
    if status == 404 or "not found" in said.lower():
        raise StoreError(f"{address} is not there: the store has no such collection; check its name") from None
    if address.folder is not None and "already accessed" in said:
        raise StoreError(f"{address.folder} is used by another process; end that, or run a server") from None
    if status is None and not isinstance(error, ValueError):
        raise StoreError(f"{address} does not answer ({said}); check the address, and that the server runs") from None
    raise StoreError(f"{address} refused: {said}") from None


@dataclass(frozen=True)
class _Client:
    QdrantClient: Any
    models: Any
    failures: tuple[type[Exception], ...]


def _module() -> _Client:
    try:
        import qdrant_client
        from qdrant_client.http.exceptions import ApiException
    except ImportError as error:
        raise MissingExtraError("qdrant-client", "qdrant") from error
    failures = (ApiException, ValueError, RuntimeError, OSError, AssertionError)
    return _Client(qdrant_client.QdrantClient, qdrant_client.models, cast("tuple[type[Exception], ...]", failures))
