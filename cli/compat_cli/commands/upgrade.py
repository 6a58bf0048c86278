"""`compat-sdk upgrade`: a stored gallery into a new model's space, without embedding its images again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands import upgrade_collection as on_collection
from compat_cli.commands import upgrade_options, upgrade_switch, upgrade_verify
from compat_cli.commands.upgrade_shown import accuracy_lines
from compat_cli.grouped import grouped
from compat_cli.groups import Group
from compat_sdk.kinds import is_address

app = typer.Typer(
    help="Bring a gallery into a new model's space, without its images and while it is used.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)


@app.command("plan")
@grouped
def plan(
    path: upgrade_options.Gallery,
    *,
    transform: upgrade_options.Transform,
    side: upgrade_options.Side = None,
    missing_side: upgrade_options.MissingSide = "refuse",
    held_out: upgrade_options.HeldOut = None,
    workers: upgrade_options.Workers = None,
    shard_rows: upgrade_options.ShardRows = None,
    how: upgrade_options.How,
    as_json: options.Json = False,
) -> None:
    """Rows, bytes and time of an upgrade and, with held-out vectors, its accuracy. Nothing is written."""
    from compat_sdk import upgrade

    if is_address(path):
        on_collection.refuse_of_folders(
            {"--workers": workers, "--shard-rows": shard_rows, "--missing-side": missing_side != "refuse"}
        )
        with console.working():
            opener = upgrade_options.opener(transform, how)
            costs, told = on_collection.plan_of(path, opener, side, held_out)
        console.report(asdict(costs), console.lines(told + accuracy_lines(costs.accuracy)), as_json=as_json)
        return
    with console.working() as progress:
        opener = upgrade_options.opener(transform, how)
        found = upgrade.plan(
            path,
            opener,
            side=side,
            missing_side=upgrade_options.missing(missing_side),
            held_out=held_out,
            workers=workers,
            shard_rows=shard_rows,
            progress=progress,
        )
    lines = [
        f"rows: {found.rows}, {found.remaining} of them to transform, in {found.shards} shards",
        f"disk: {console.size_text(found.bytes_needed)} needed, {console.size_text(found.bytes_free)} free",
        f"time: {found.seconds:.3g} s with {found.workers} workers of {found.rows_per_second:.4g} rows/s",
    ]
    if found.bytes_to_copy:
        lines.append(f"copied besides: {console.size_text(found.bytes_to_copy)}, where no second names can be made")
    if found.without_side:
        lines.append(f"without side-information: {found.without_side} rows, which take zeros")
    lines.append(f"written by the cutover: {console.size_text(found.bytes_for_cutover)}")
    console.report(asdict(found), console.lines(lines + accuracy_lines(found.accuracy)), as_json=as_json)


@app.command("run")
@grouped
def run(
    path: upgrade_options.Gallery,
    *,
    transform: upgrade_options.Transform,
    side: upgrade_options.Side = None,
    missing_side: upgrade_options.MissingSide = "refuse",
    workers: upgrade_options.Workers = None,
    ray: Annotated[bool, typer.Option("--ray", help="Map the shards with Ray, over its cluster.")] = False,
    shard_rows: upgrade_options.ShardRows = None,
    rows_per_second: Annotated[
        float | None,
        typer.Option("--rows-per-second", help="The most of all workers together, to leave room for searches."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="File that gets a line of JSON per shard.", show_default=False)
    ] = None,
    how: upgrade_options.How,
    as_json: options.Json = False,
) -> None:
    """Transform every row, beside the gallery. Run again, it does what is missing and what was added."""
    from compat_sdk import upgrade

    if ray:
        extras.require("ray")
    if is_address(path):
        on_collection.refuse_of_folders(
            {
                "--shard-rows": shard_rows,
                "--rows-per-second": rows_per_second,
                "--log": log,
                "--missing-side": missing_side != "refuse",
            }
        )
        opener = upgrade_options.opener(transform, how)
        on_collection.run_of(path, opener, side, workers=workers, ray=ray, as_json=as_json)
        return
    with console.working() as progress:
        opener = upgrade_options.opener(transform, how)
        done = upgrade.run(
            path,
            opener,
            side=side,
            missing_side=upgrade_options.missing(missing_side),
            workers=workers,
            ray=ray,
            shard_rows=shard_rows,
            rows_per_second=rows_per_second,
            log=log,
            progress=progress,
        )
    zeros = f", {done.without_side} rows with zeros for side-information" if done.without_side else ""
    text = (
        f"{done.rows} rows in {done.shards} shards, {done.transformed} of them now{zeros}; next: upgrade verify {path}"
    )
    console.report(asdict(done), console.lines([text]), as_json=as_json)


@app.command("status")
def status(path: upgrade_options.Gallery, as_json: options.Json = False) -> None:
    """How far an upgrade is, and what comes next. Nothing is written."""
    from compat_sdk import upgrade

    if is_address(path):
        on_collection.status_of(path, as_json=as_json)
        return
    found = upgrade.status(path)
    lines = [f"{found.stage}: {path} is in space {found.space}, {found.rows} rows"]
    if found.leads_to is not None:
        shown = ", ".join(f"{name} {value[:16]}" for name, value in found.transform.items())
        lines += [
            f"leads to {found.leads_to} by transform {shown}",
            f"{found.done} of {found.shards} shards done, {found.transformed} rows; {found.added} added since",
        ]
    if found.old_rows is not None:
        lines.append(f"kept: {found.old_rows} old rows, in {path / 'upgrade' / 'before'}")
    console.report(asdict(found), console.lines([*lines, f"next: {found.next}"]), as_json=as_json)


app.command("verify")(upgrade_verify.verify)


@app.command("canary")
def canary(
    path: upgrade_options.Gallery,
    out: Annotated[Path, typer.Option("--out", help="New gallery folder.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Rows of this label; may be repeated.", show_default=False)
    ] = None,
    share: Annotated[
        float | None, typer.Option("--share", help="This share of all rows, by the hash of their ids.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """A gallery of some of the new vectors, for a few devices to search before the cutover."""
    from compat_sdk import upgrade

    upgrade_options.require_folder(path, "canary")
    with console.working():
        made = upgrade.canary(path, out, labels=label or (), share=share)
    text = f"{out}: {len(made)} rows in space {made.space}"
    console.report({"gallery": str(out), "space": made.space, "rows": len(made)}, text, as_json=as_json)


upgrade_switch.add_to(app)
