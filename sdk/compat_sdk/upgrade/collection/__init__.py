"""Upgrades of a Qdrant collection that goes on serving: the new space is a second collection, an alias is the cutover.

places     which collections an upgrade is between, and what the new one notes of it
following  the new collection follows the old one: what was added, changed and removed
stretches  the same by many workers at once, for a collection on a server
steps      run, cutover, rollback, discard
looking    what it will cost, and how far it is
checking   what the new collection finds beside the old one

Devices search an alias, such as ``photos``. `run` fills the collection ``photos--SPACE`` from the one that the alias
leads to; searches and writers go on, and a second run takes along what changed. `cutover` moves the alias in one step.
The old collection stays, under its own name and for `rollback`.
"""

from compat_sdk.upgrade.collection.checking import CollectionCheck, verify_collection
from compat_sdk.upgrade.collection.looking import plan_collection, status_collection
from compat_sdk.upgrade.collection.steps import (
    CollectionStep,
    cutover_collection,
    discard_collection,
    rollback_collection,
    run_collection,
)

__all__ = [
    "CollectionCheck",
    "CollectionStep",
    "cutover_collection",
    "discard_collection",
    "plan_collection",
    "rollback_collection",
    "run_collection",
    "status_collection",
    "verify_collection",
]
