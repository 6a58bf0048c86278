"""`compat-sdk upgrade` from the cutover on: over, back, and what goes on in between."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options, pictures
from compat_cli.commands import upgrade_collection as on_collection
from compat_cli.commands import upgrade_options
from compat_cli.grouped import grouped
from compat_sdk.errors import ConfigError
from compat_sdk.kinds import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compat_sdk.space import Embeddings


def add_to(app: typer.Typer) -> None:
    """Give these commands to the group."""
    app.command("cutover")(grouped(_cutover))
    app.command("follow")(grouped(_follow))
    app.command("backfill")(grouped(_backfill))
    app.command("rollback")(_rollback)
    app.command("discard")(_discard)


def _cutover(
    path: upgrade_options.Gallery,
    *,
    transform: Annotated[
        Path | None,
        typer.Option("--transform", help="BUNDLE of the run: takes rows added since along.", show_default=False),
    ] = None,
    side: upgrade_options.Side = None,
    missing_side: upgrade_options.MissingSide = "refuse",
    most_added: Annotated[
        int, typer.Option("--most-added", min=0, help="Rows that may be transformed while writers wait.")
    ] = 1000,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Do without a verification of these very bytes.")
    ] = False,
    absent: Annotated[
        str,
        typer.Option(
            "--absent",
            help="Of a collection, after a killed cutover: rows that the new one has not. refuse, take or leave.",
        ),
    ] = "refuse",
    ann: Annotated[
        bool, typer.Option("--ann/--exact", help="Build the approximate index (usearch) anew, after the cutover.")
    ] = False,
    workers: upgrade_options.Workers = None,
    how: upgrade_options.How,
    as_json: options.Json = False,
) -> None:
    """Put the new vectors in the place of the old, in one step; without --ann, searches take the exact scan."""
    from compat_sdk import upgrade
    from compat_sdk.gallery import Gallery

    if ann:
        extras.require("usearch")
    if is_address(path):
        on_collection.refuse_of_folders(
            {"--workers": workers, "--ann": ann, "--missing-side": missing_side != "refuse"}
        )
    how.trusted()  # a key and a trust file at once are refused though nothing is opened
    with console.working():
        opener = None if transform is None else upgrade_options.opener(transform, how)
    if is_address(path):
        on_collection.cutover_of(
            path, opener, side, most_added=most_added, unverified=unverified, absent=absent, as_json=as_json
        )
        return
    if absent != "refuse":
        raise ConfigError("--absent is about a collection; leave it out for a gallery folder")
    with console.working() as progress:
        done = upgrade.cutover(
            path,
            opener,
            side=side,
            missing_side=upgrade_options.missing(missing_side),
            most_added=most_added,
            unverified=unverified,
            workers=workers,
            progress=progress,
        )
        if ann:
            Gallery.open(path, verify=False).build_index("usearch")
    left = f", {done.left_out} removed ones left out" if done.left_out else ""
    caught = (
        f", {done.caught_up} of them transformed while writers waited {done.paused_s:.2f} s" if done.caught_up else ""
    )
    text = f"{path} is in space {done.space}: {done.rows} rows{caught}{left}"
    console.report(asdict(done), console.lines([text]), as_json=as_json)


def _follow(
    path: upgrade_options.Gallery,
    *,
    transform: upgrade_options.Transform,
    side: upgrade_options.Side = None,
    how: upgrade_options.How,
    as_json: options.Json = False,
) -> None:
    """After the cutover: bring rows that GALLERY/upgrade/before received since into the new space too."""
    from compat_sdk import upgrade

    upgrade_options.require_folder(path, "follow")
    with console.working():
        done = upgrade.follow(path, upgrade_options.opener(transform, how), side=side)
    console.report(asdict(done), f"{done.added} rows added, {done.known} were there already", as_json=as_json)


def _backfill(
    path: upgrade_options.Gallery,
    *,
    model: Annotated[Path, typer.Option("--model", help="New model to embed with: a BUNDLE or a RUN.")],
    uncertainty: Annotated[
        Path, typer.Option("--uncertainty", help="CSV file with the columns id,uncertainty; the largest come first.")
    ],
    budget: Annotated[int, typer.Option("--budget", min=1, help="Images to embed at most.")],
    of: upgrade_options.Images,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """After the cutover: embed images again, the most uncertain rows first. Run again, it goes on with the next."""
    from compat_sdk import upgrade
    from compat_sdk.gallery import Gallery

    upgrade_options.require_folder(path, "backfill")
    with console.working():
        embedder = pictures.open_model(model, trust=options.trusted(public_key, trust))
    scores = upgrade.read_uncertainty(uncertainty)
    held = of.pictures().spelled_as(Gallery.open(path, verify=False).ids)
    row_of = {name: row for row, name in enumerate(held.ids)}
    here = {name: score for name, score in scores.items() if name in row_of}
    with console.working() as progress:

        def embed(ids: Sequence[str]) -> Embeddings:
            return embedder.embed(held.take([row_of[name] for name in ids]).images)

        done = upgrade.embed_again(path, here, embed, budget=budget, progress=progress)
    text = (
        f"{done.rows} rows embedded again, {done.before} before; {done.left} left, {done.unknown} without uncertainty"
    )
    console.report(asdict(done), text, as_json=as_json)


def _rollback(
    path: upgrade_options.Gallery,
    drop_added: Annotated[
        bool, typer.Option("--drop-added", help="Give up rows added since the cutover: they have no old vectors.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Put the old vectors back in their place, in one step."""
    from compat_sdk import upgrade

    if is_address(path):
        on_collection.rollback_of(path, drop_added=drop_added, as_json=as_json)
        return
    done = upgrade.rollback(path, drop_added=drop_added)
    dropped = f"; dropped: {', '.join(done.dropped)}" if done.dropped else ""
    console.report(
        asdict(done), console.lines([f"{path} is in space {done.space}: {done.rows} rows{dropped}"]), as_json=as_json
    )


def _discard(
    path: upgrade_options.Gallery,
    old: Annotated[
        bool, typer.Option("--old", help="After the cutover: delete the old vectors, and the way back.")
    ] = False,
    drop_added: Annotated[
        bool, typer.Option("--drop-added", help="Give up rows that the old gallery alone received.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Delete an unfinished run or, after the cutover and with --old, the old vectors that are kept for a rollback."""
    from compat_sdk import upgrade

    if is_address(path):
        on_collection.refuse_of_folders({"--drop-added": drop_added})
        on_collection.discard_of(path, old=old, as_json=as_json)
        return
    freed = upgrade.discard(path, old=old, drop_added=drop_added)
    console.report({"bytes": freed}, f"{console.size_text(freed)} given back", as_json=as_json)
