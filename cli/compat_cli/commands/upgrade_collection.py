"""`compat-sdk upgrade` of a Qdrant collection: the same steps, and the same words, as of a gallery folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compat_cli import console
from compat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from compat_sdk.exchange import Table
    from compat_sdk.gallery import Gallery
    from compat_sdk.stores.qdrant import Collection
    from compat_sdk.upgrade import BundleTransform
    from compat_sdk.upgrade.collection import CollectionCheck
    from compat_sdk.upgrade.collection.following import Absent
    from compat_sdk.upgrade.collection.looking import CollectionPlan
    from compat_sdk.upgrade.quality import Verdict


def refuse_of_folders(given: Mapping[str, object]) -> None:
    """Refuse options that concern the files of a gallery folder.

    Args:
        given: What was told, by the option's name; None and False stand for nothing.

    Raises:
        ConfigError: One is given.
    """
    for option, value in given.items():
        if value is not None and value is not False:
            raise ConfigError(f"{option} is about the files of a gallery folder; leave it out for a collection")


@contextmanager
def _connected(place: Path, side: Path | None = None) -> Iterator[tuple[Collection, Gallery | None]]:
    from compat_sdk.gallery import Gallery
    from compat_sdk.stores.addresses import parse_address
    from compat_sdk.stores.qdrant import Collection

    collection = Collection.connect(parse_address(place))
    try:
        yield collection, None if side is None else Gallery.open(side, verify=False)
    finally:
        collection.close()


def _held_out(path: Path | None) -> Table | None:
    from compat_sdk.exchange import read_table

    return None if path is None else read_table(path)


def plan_of(
    place: Path, opener: BundleTransform, side: Path | None, held_out: Path | None
) -> tuple[CollectionPlan, list[str]]:
    """The plan of an upgrade of a collection: its figures, and lines for people."""
    from compat_sdk.upgrade.collection import plan_collection

    with _connected(place, side) as (collection, beside):
        found = plan_collection(collection, opener, side=beside, held_out=_held_out(held_out))
    lines = [
        f"rows: {found.rows}, {found.remaining} of them to transform",
        f"vectors: {console.size_text(found.bytes_needed)} more in the store, and its index of them",
    ]
    if found.seconds is not None:
        lines.append(f"time: {found.seconds:.3g} s at {found.rows_per_second:.4g} rows/s")
    return found, lines


def run_of(
    place: Path, opener: BundleTransform, side: Path | None, *, workers: int | None, ray: bool, as_json: bool
) -> None:
    """Transform a collection into one of the new space."""
    from compat_sdk.upgrade.collection import run_collection

    with console.working() as progress, _connected(place, side) as (collection, beside):
        done = run_collection(collection, opener, side=beside, workers=workers, ray=ray, progress=progress)
        text = (
            f"{done.collection}: {done.rows} rows in space {done.space}, {done.changed} of them now, {done.removed} "
            f"removed; next: upgrade verify {collection.address}"
        )
    console.report(asdict(done), console.lines([text]), as_json=as_json)


def verify_of(
    place: Path,
    opener: BundleTransform,
    side: Path | None,
    held_out: Path | None,
    *,
    sample: int,
    at_least: Verdict,
    min_cosine: float | None,
) -> tuple[CollectionCheck, list[str], list[str]]:
    """Check an upgrade of a collection: its figures, what is wrong, and lines for people."""
    from compat_sdk.upgrade.collection import verify_collection

    if min_cosine is not None and held_out is None:
        raise ConfigError("--min-cosine needs something to compare with: --held-out")
    with console.working(), _connected(place, side) as (collection, beside):
        found = verify_collection(
            collection,
            opener,
            side=beside,
            sample=sample,
            held_out=_held_out(held_out),
            at_least=at_least,
            min_cosine=min_cosine,
        )
        name = str(collection.address)
    lines = list(found.problems) or [f"{name}: no problems"]
    lines.append(f"rows: {found.rows} in the new collection, {found.unfinished} left; cut over: {found.cut_over}")
    if found.lowest_cosine is not None:
        lines.append(f"transformed again: {found.sampled} rows, lowest cosine {found.lowest_cosine:.6f}")
    if found.recorded and found.accuracy is not None:
        lines.append(f"next: upgrade cutover {name}")
    return found, list(found.problems), lines


def cutover_of(
    place: Path,
    opener: BundleTransform | None,
    side: Path | None,
    *,
    most_added: int,
    unverified: bool,
    absent: str,
    as_json: bool,
) -> None:
    """Move the alias to the new collection."""
    from compat_sdk.upgrade.collection import cutover_collection

    if opener is None:
        raise ConfigError("the cutover of a collection takes along what was written meanwhile; give its --transform")
    with console.working() as progress, _connected(place, side) as (collection, beside):
        done = cutover_collection(
            collection,
            opener,
            side=beside,
            most_added=most_added,
            unverified=unverified,
            absent=cast("Absent", absent),
            progress=progress,
        )
        text = (
            f"{collection.address} leads to {done.collection} in space {done.space}: {done.rows} rows, {done.changed} "
            f"of them transformed and {done.removed} removed now"
        )
    console.report(asdict(done), console.lines([text]), as_json=as_json)


def rollback_of(place: Path, *, drop_added: bool, as_json: bool) -> None:
    """Move the alias back."""
    from compat_sdk.upgrade.collection import rollback_collection

    with _connected(place) as (collection, _):
        done = rollback_collection(collection, drop_added=drop_added)
        text = f"{collection.address} leads to {done.collection} in space {done.space}: {done.rows} rows"
    console.report(asdict(done), console.lines([text]), as_json=as_json)


def discard_of(place: Path, *, old: bool, as_json: bool) -> None:
    """Delete the collection that is not needed any more."""
    from compat_sdk.upgrade.collection import discard_collection

    with _connected(place) as (collection, _):
        done = discard_collection(collection, old=old)
    text = f"kept: {done.collection} in space {done.space}, {done.rows} rows"
    console.report(asdict(done), console.lines([text]), as_json=as_json)


def status_of(place: Path, *, as_json: bool) -> None:
    """Say how far an upgrade of a collection is."""
    from compat_sdk.upgrade.collection import status_collection

    with _connected(place) as (collection, _):
        found = status_collection(collection)
        name = str(collection.address)
    lines = [f"{found.stage}: {name} is in space {found.space}, {found.rows} rows"]
    if found.leads_to is not None:
        which = "old" if found.stage == "over" else "new"
        lines.append(f"leads to {found.leads_to}; {found.other_rows} rows in the {which} collection")
    console.report(asdict(found), console.lines(lines), as_json=as_json)
