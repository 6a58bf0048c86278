"""The steps of an upgrade of a collection: each may be stopped at any time and begun again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from compat_sdk.errors import ConfigError, StateError
from compat_sdk.gallery import Gallery
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_value
from compat_sdk.stores.qdrant import UPGRADE, Collection
from compat_sdk.upgrade.collection.following import Absent, content, follow, follow_again, remove_gone
from compat_sdk.upgrade.collection.places import Places, begin, find, require_old
from compat_sdk.upgrade.collection.stretches import require_server, transform_stretches
from compat_sdk.upgrade.opener import Transformer, TransformOpener

_MOST_PASSES = 5


@dataclass(frozen=True)
class CollectionStep:
    """What a step did.

    Attributes:
        collection: The collection that the alias leads to, or will.
        space: Embedding space of its vectors.
        rows: How many it has.
        changed: Rows that were transformed now.
        removed: Rows that were deleted from it, since they were gone from the old one.
    """

    collection: str
    space: str
    rows: int
    changed: int = 0
    removed: int = 0


def run_collection(
    alias: Collection,
    opener: TransformOpener,
    *,
    side: Gallery | None = None,
    workers: int | None = None,
    ray: bool = False,
    progress: Progress | None = None,
) -> CollectionStep:
    """Transform every row into the new collection; run again, it takes along what changed since.

    Args:
        alias: What devices search.
        opener: The transform.
        side: Side-information of the same ids.
        workers: Processes of this machine, or tasks on Ray, at a time. None works in this process, or by Ray on as many
            cores as its cluster has.
        ray: Map stretches of points with Ray; every node must reach the server, and see the bundle and the
            side-information under the same paths.
        progress: Told how many rows were seen.

    Raises:
        ConfigError: The collection names no space, side-information is missing or in excess, or several workers are
            asked for and the collection is on no server.
        MissingExtraError: Ray is asked for and not installed.
        IncompatibleSpaceError: It is in another space than the transform takes.
        StateError: An upgrade by another transform was begun.
        DataError: A row has no side-information.
        StoreError: The store is away or refuses.
    """
    if ray or workers is not None:
        require_server(alias)
    transform = _opened(opener, side)
    places = begin(alias, transform.spaces, opener.identity)
    if ray or workers is not None:
        changed = transform_stretches(places.old, places.new, opener, side, workers=workers, ray=ray, progress=progress)
        return _step(places, changed, remove_gone(places.old, places.new))
    done = follow(places.old, places.new, transform, side, progress=progress)
    return _step(places, done.changed, done.removed)


def cutover_collection(
    alias: Collection,
    opener: TransformOpener,
    *,
    side: Gallery | None = None,
    most_added: int = 1000,
    unverified: bool = False,
    absent: Absent = "refuse",
    progress: Progress | None = None,
) -> CollectionStep:
    """Move the alias to the new collection in one step, and take along what was written meanwhile.

    Passes over the old collection go on until one finds nothing, and one more follows the step: writers never wait, and
    what they wrote into the old collection before the step is transformed after it. What is written through the alias
    later is in the new space. A process that is killed is begun again by the same call. If that was after the step,
    rows of the old collection that the new one has not were added before it or removed since, see ``absent``.

    Args:
        alias: What devices search.
        opener: The transform of the run.
        side: Side-information of the same ids.
        most_added: Rows that may have changed since the verification.
        unverified: Do without a verification of these very rows.
        absent: What becomes of such rows: refused, transformed now, or left out. Only after a cutover that was killed.
        progress: Told how many rows were seen.

    Raises:
        StateError: No upgrade was begun, it is over, it was not verified or changed since, the address is no alias, or
            the old collection is another by now.
        ConfigError: The transform is another one than that of the run, or ``absent`` is out of place.
        StoreError: The store is away or refuses.
    """
    places = find(alias)
    transform = _opened(opener, side)
    if dict(places.note["transform"]) != dict(opener.identity):
        raise ConfigError("the transform is not the one of this upgrade, or is run in another way; expected that one")
    if places.over and not places.note.get("moving"):
        raise StateError(f"{alias.address} is in space {places.note['space']} already; roll it back first")
    if alias.address.collection not in alias.aliases():
        raise StateError(
            f"{alias.address} is a collection and no alias, which alone can be moved; make an alias that leads to it, "
            f"let devices search that, and upgrade that"
        )
    require_old(places)
    if absent not in get_args(Absent) or (absent != "refuse" and not places.over):
        raise ConfigError(
            f"absent is {shown_value(absent)}; expected refuse, or after a cutover that was killed take or leave"
        )
    space = str(places.note["space"])
    note = {key: value for key, value in places.note.items() if key != "moving"}
    if places.over:
        last = follow_again(places.old, places.new, transform, side, absent, progress)
        places.new.finish(space, **{UPGRADE: note})
        return _step(places, last.changed, last.removed)
    if not unverified:
        _require_verified(places)
    changed = removed = 0
    for _ in range(_MOST_PASSES):
        done = follow(places.old, places.new, transform, side, progress=progress)
        changed, removed = changed + done.changed, removed + done.removed
        if not unverified and changed + removed > most_added:
            raise StateError(
                f"{changed + removed} rows changed since the verification, more than {most_added}; verify again, or "
                f"allow more (--most-added)"
            )
        if not done.changed and not done.removed:
            break
    places.new.finish(space, **{UPGRADE: {**note, "moving": True}})
    places.new.lead(alias.address.collection)
    last = follow(places.old, places.new, transform, side, since=done, progress=progress)
    places.new.finish(space, **{UPGRADE: note})
    return _step(places, changed + last.changed, removed + last.removed)


def rollback_collection(alias: Collection, *, drop_added: bool = False) -> CollectionStep:
    """Move the alias back to the old collection, in one step; the new one stays, to be cut over again.

    Args:
        alias: What devices search.
        drop_added: Give up rows that were added since the cutover: they have no old vectors.

    Raises:
        StateError: There was no cutover, rows were added since and may not be given up, or the old collection is
            another by now.
        StoreError: The store is away or refuses.
    """
    places = find(alias)
    if not places.over:
        raise StateError(f"{alias.address} was not cut over; there is nothing to roll back")
    require_old(places)
    added = [id for block in places.new.scroll(vectors=False) for id in _own(places.new, block.ids)]
    if added and not drop_added:
        raise StateError(
            f"{len(added)} rows were added since the cutover and have no old vectors, such as {shown_value(added[0])}; "
            f"--drop-added gives them up"
        )
    places.new.delete(added)  # first: after the step, a process that was killed would not know of them
    places.old.lead(alias.address.collection)
    places.write()
    return CollectionStep(places.old.address.collection, str(places.note["old_space"]), places.old.count())


def discard_collection(alias: Collection, *, old: bool = False) -> CollectionStep:
    """Delete the new collection of a run that is not over; with ``old`` the old one after a cutover.

    Raises:
        StateError: There is none, or the other is asked for.
        StoreError: The store is away or refuses.
    """
    places = find(alias)
    if places.over != old:
        raise StateError(
            f"{alias.address} is cut over; --old deletes the old vectors and the way back"
            if places.over
            else f"{alias.address} is not cut over, so that its old vectors are in use; leave --old out"
        )
    gone, kept = (places.old, places.new) if old else (places.new, places.old)
    space = str(places.note["space" if old else "old_space"])
    if gone.exists():
        if old:
            require_old(places)
        gone.drop()
    if old:
        kept.finish(space)
    return CollectionStep(kept.address.collection, space, kept.count())


def _own(new: Collection, ids: object) -> list[str]:
    """Those rows that were made of nothing: writers put them there."""
    names = list(ids)  # type: ignore[call-overload]
    made_of = new.sources(names)
    return [id for id in names if not made_of.get(id)]


def _require_verified(places: Places) -> None:
    verified = places.note.get("verified")
    if not isinstance(verified, dict) or not verified.get("measured"):
        raise StateError(
            f"the upgrade of {places.alias.address} was not verified with vectors of the new model; run `upgrade "
            f"verify` with --held-out, or type --unverified"
        )
    if verified.get("content") != content(places.new):
        raise StateError(
            f"{places.new.address} changed since it was verified; run `upgrade verify` again, or type --unverified"
        )


def _opened(opener: TransformOpener, side: Gallery | None) -> Transformer:
    transform = opener()
    spaces = transform.spaces
    if (side is None) != (spaces.side_space is None):
        raise ConfigError(
            f"the transform takes {'no' if spaces.side_space is None else 'the'} side-information; "
            f"{'leave --side out' if side is not None else 'give it, as --side'}"
        )
    if side is not None and (side.space, side.dim) != (spaces.side_space, spaces.side_dim):
        raise ConfigError(
            f"the side-information is in space {side.space} of {side.dim} numbers; expected {spaces.side_space} of "
            f"{spaces.side_dim}"
        )
    return transform


def _step(places: Places, changed: int, removed: int) -> CollectionStep:
    return CollectionStep(
        places.new.address.collection, str(places.note["space"]), places.new.count(), changed, removed
    )
