"""Which collections an upgrade is between, and the note of it in the metadata of the new one.

    {"unfinished": true, "upgrade": {"alias": ..., "old": ..., "old_space": ..., "space": ..., "transform": {...}}}

A verification adds ``verified``. The cutover replaces ``unfinished`` by the space, so that the new collection may be
searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compat_sdk.errors import ConfigError, IncompatibleSpaceError, StateError, StoreError
from compat_sdk.space import TransformSpaces
from compat_sdk.stores.points import Shape
from compat_sdk.stores.qdrant import UPGRADE, Collection, collection_for


@dataclass(frozen=True, eq=False)
class Places:
    """The collections of an upgrade.

    Attributes:
        alias: What devices search, and the address named.
        old: The collection of the old space.
        new: That of the new space.
        note: What the new one says of the upgrade.
        over: Whether the alias leads to the new one.
    """

    alias: Collection
    old: Collection
    new: Collection
    note: Mapping[str, Any]
    over: bool

    def write(self, **more: object) -> None:
        """Note more of the upgrade in the new collection, which stays unfinished."""
        self.new.write_note({"unfinished": True, UPGRADE: {**self.note, **more}})


def begin(alias: Collection, spaces: TransformSpaces, transform: Mapping[str, str]) -> Places:
    """The collections of an upgrade that is begun now, or was begun before by the same transform.

    Raises:
        IncompatibleSpaceError: The collection is in another space than the transform takes.
        ConfigError: It names no space or compares by distance, or the name of the new one is taken.
        StateError: An upgrade by another transform was begun.
        StoreError: The store is away.
    """
    shape = alias.shape()
    require_source(alias, shape, spaces)
    old = alias.named(alias.real_name())
    new = alias.named(collection_for(alias.address.collection, spaces.space))
    note = {
        "alias": alias.address.collection,
        "old": old.address.collection,
        "old_space": spaces.old_space,
        "space": spaces.space,
        "transform": dict(transform),
    }
    if not new.exists():
        new.create(spaces.dim, "cosine")
        places = Places(alias, old, new, note, False)
        places.write()
        return places
    found = new.shape()
    before = _told(new, found)
    if (before is None and not found.unfinished) or (before or note)["transform"] != note["transform"]:
        raise StateError(
            f"{new.address} exists, of another upgrade; expected none of that name: upgrade discard {alias.address}"
        )
    places = Places(alias, old, new, {**note, **(before or {})}, False)
    places.write()
    return places


def find(alias: Collection) -> Places:
    """The collections of the upgrade that was begun, or that is over, behind an alias.

    Raises:
        StateError: There is none.
        StoreError: The store is away.
    """
    leads = alias.real_name()
    for name in (*(name for name in _begun(alias) if name != leads), leads):  # one that is not over comes first
        new = alias.named(name)
        note = _told(new, new.shape()) if new.exists() else None
        if note is not None and note["alias"] == alias.address.collection and leads in (name, note["old"]):
            return Places(alias, alias.named(note["old"]), new, note, leads == name)
    raise StateError(f"no upgrade of {alias.address} was begun; run `compat-sdk upgrade run` first")


def require_old(places: Places) -> None:
    """Refuse to read, lead to or delete what took the name of the old collection.

    Raises:
        StateError: There is no such collection, it is an alias, or in another space than when the upgrade was begun.
        StoreError: The store is away.
    """
    old, space = places.old, places.note["old_space"]
    found = old.shape() if old.exists() else None
    if found is None or found.space != space or found.unfinished or old.real_name() != old.address.collection:
        said = (
            "is not there any more"
            if found is None
            else f"is now {f'in space {found.space}' if found.space else 'another, or an alias'}"
        )
        raise StateError(
            f"{old.address} {said}; expected the collection in space {space} of which the upgrade was begun: bring it "
            f"back, or see `upgrade discard`"
        )


def _told(collection: Collection, shape: Shape) -> Mapping[str, Any] | None:
    """What a collection says of an upgrade that leads to it; None where it says nothing.

    Raises:
        StoreError: Others wrote there.
    """
    note = shape.note.get(UPGRADE)
    if note is None:
        return None
    texts = ("alias", "old", "old_space", "space")
    if (
        not isinstance(note, Mapping)
        or not all(isinstance(note.get(name), str) for name in texts)
        or not isinstance(note.get("transform"), Mapping)
    ):
        raise StoreError(
            f"the note of an upgrade in the metadata of {collection.address} is damaged; delete that collection, and "
            f"run the upgrade again"
        )
    return note


def _begun(alias: Collection) -> list[str]:
    """Names that collections for other spaces than the present one would have."""
    return [name for name in alias.collections() if name.startswith(collection_for(alias.address.collection, ""))]


def require_source(alias: Collection, shape: Shape, spaces: TransformSpaces) -> None:
    """Refuse a collection that a transform cannot take.

    Raises:
        ConfigError: It names no space, compares by distance, or an export into it did not end.
        IncompatibleSpaceError: It is in another space.
    """
    if shape.unfinished:
        raise ConfigError(f"an export into {alias.address} did not end; run it again before an upgrade")
    if shape.space is None:
        raise ConfigError(f"{alias.address} names no space; note it with `compat-sdk gallery name`, then upgrade")
    if shape.space != spaces.old_space or shape.dim != spaces.old_dim:
        raise IncompatibleSpaceError(
            shape.space,
            (),
            spaces.old_space,
            f"{alias.address} is in space {shape.space} of {shape.dim} numbers, but the transform leads {spaces}; "
            f"expected the transform of that space",
        )
    if shape.distance == "l2":
        raise ConfigError(f"{alias.address} compares by Euclidean distance; expected cosine or inner products")
