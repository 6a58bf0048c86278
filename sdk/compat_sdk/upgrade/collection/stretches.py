"""A collection in stretches of points, which workers transform at once: processes of this machine, or tasks on Ray.

Each worker has its own connections, so that the collection must be on a server. A stretch reaches from one point to
another in the store's order of ids; what was added between two stretches meanwhile belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from compat_sdk.errors import ConfigError
from compat_sdk.gallery import Gallery
from compat_sdk.kinds import is_address
from compat_sdk.progress import Progress
from compat_sdk.stores.addresses import QdrantAddress
from compat_sdk.stores.ordered import PointId
from compat_sdk.stores.qdrant import Collection
from compat_sdk.upgrade.collection.following import bring
from compat_sdk.upgrade.mapping import map_local, map_ray
from compat_sdk.upgrade.opener import TransformOpener
from compat_sdk.upgrade.shard import opened

_POINTS = 4096
"""Of a stretch: some seconds of work, and a thousandth of a collection that is worth a second worker."""


@dataclass(frozen=True)
class Stretch:
    """All that a worker needs for some points; it connects and opens the transform itself.

    Attributes:
        old: The collection of the old space.
        new: That of the new one.
        first: The first point; None for the beginning.
        end: The point before which it ends; None for the end.
        opener: The transform.
        side: Folder or address of the side-information.
    """

    old: QdrantAddress
    new: QdrantAddress
    first: PointId | None
    end: PointId | None
    opener: TransformOpener
    side: str | None


@dataclass(frozen=True)
class Moved:
    """What became of a stretch: rows that were seen, and those of them that were transformed."""

    rows: int
    changed: int


def transform_stretch(stretch: Stretch) -> Moved:
    """Bring the new collection to the state of the old one, in one stretch.

    Raises:
        DataError: A row has no side-information.
        VectorError: A row cannot be transformed.
        StoreError: The store is away or refuses.
    """
    old, new = _connected(stretch.old), _connected(stretch.new)
    transform, side = opened(stretch.opener), None if stretch.side is None else _side(stretch.side)
    if side is not None:
        side.reload()
    rows = changed = 0
    for block in old.scroll(first=stretch.first, end=stretch.end):
        rows += len(block)
        changed += bring(block, new, transform, side).changed
    return Moved(rows, changed)


def transform_stretches(
    old: Collection,
    new: Collection,
    opener: TransformOpener,
    side: Gallery | None,
    *,
    workers: int | None = None,
    ray: bool = False,
    progress: Progress | None = None,
) -> int:
    """Bring the new collection to the state of the old one, a stretch at a time by each worker.

    Args:
        old: Of the old space.
        new: Of the new one.
        opener: The transform.
        side: Side-information of the same ids, in a folder that every worker sees under the same path, or on a server.
        workers: At a time; one per core of the machine, or of Ray's cluster, if None.
        ray: By Ray, rather than by processes of this machine.
        progress: Told how many rows were seen.

    Returns:
        Rows that were transformed.

    Raises:
        ConfigError: ``workers`` is below 1.
        MissingExtraError: Ray is asked for and not installed.
        CompatError: A worker died, or what `transform_stretch` raises.
    """
    place = None if side is None else str(side.path if is_address(side.path) else side.path.absolute())
    stretches = [Stretch(old.address, new.address, first, end, opener, place) for first, end in _bounds(old)]
    rows = changed = 0
    for moved in (map_ray if ray else map_local)(transform_stretch, stretches, workers):
        rows, changed = rows + moved.rows, changed + moved.changed
        if progress is not None:
            progress("transform", rows, max(rows, old.count()), {})
    return changed


def require_server(collection: Collection) -> None:
    """Refuse a collection that other processes cannot reach.

    Raises:
        ConfigError: It is in a folder, or in the memory of its client.
    """
    if not collection.address.host:
        raise ConfigError(
            f"{collection.address} is open in one process, and others cannot reach it; expected a collection on a "
            f"server for several workers or Ray"
        )


def _bounds(old: Collection) -> Iterator[tuple[PointId | None, PointId | None]]:
    """First and end of each stretch; one at least."""
    first: PointId | None = None
    for end in old.every(_POINTS):
        yield first, end
        first = end
    yield first, None


@lru_cache(maxsize=4)
def _connected(address: QdrantAddress) -> Collection:
    """Connect once per process, however many stretches it works on."""
    return Collection.connect(address)


@lru_cache(maxsize=1)
def _side(place: str) -> Gallery:
    """Open once per process; what changed since is read by a stretch, which reloads it."""
    return Gallery.open(place, verify=False)
