"""`compat-sdk upgrade`: a stored gallery into a new model's space, without embedding its images again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options, pictures
from compat_cli.commands import upgrade_collection as on_collection
from compat_cli.commands import upgrade_options, upgrade_switch
from compat_cli.groups import Group
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.kinds import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compat_sdk.bundle import Trust
    from compat_sdk.space import Embeddings
    from compat_sdk.upgrade import Accuracy, Quality
    from compat_sdk.upgrade.quality import Verdict

app = typer.Typer(
    help="Bring a gallery into a new model's space, without its images and while it is used.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)


@app.command("plan")
def plan(
    path: upgrade_options.Gallery,
    transform: upgrade_options.Transform,
    side: upgrade_options.Side = None,
    missing_side: upgrade_options.MissingSide = "refuse",
    held_out: upgrade_options.HeldOut = None,
    workers: upgrade_options.Workers = None,
    shard_rows: upgrade_options.ShardRows = None,
    engine: options.Engine = "auto",
    precision: upgrade_options.Precision = None,
    threads: upgrade_options.Threads = 1,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Rows, bytes and time of an upgrade and, with held-out vectors, its accuracy. Nothing is written."""
    from compat_sdk import upgrade

    wanted = options.trusted(public_key, trust)
    if is_address(path):
        on_collection.refuse_of_folders(
            {"--workers": workers, "--shard-rows": shard_rows, "--missing-side": missing_side != "refuse"}
        )
        with console.working():
            opener = upgrade_options.opener(transform, engine, precision, threads, wanted)
            costs, told = on_collection.plan_of(path, opener, side, held_out)
        console.report(asdict(costs), console.lines(told + _accuracy_lines(costs.accuracy)), as_json=as_json)
        return
    with console.working() as progress:
        opener = upgrade_options.opener(transform, engine, precision, threads, wanted)
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
    console.report(asdict(found), console.lines(lines + _accuracy_lines(found.accuracy)), as_json=as_json)


@app.command("run")
def run(
    path: upgrade_options.Gallery,
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
    engine: options.Engine = "auto",
    precision: upgrade_options.Precision = None,
    threads: upgrade_options.Threads = 1,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Transform every row, beside the gallery. Run again, it does what is missing and what was added."""
    from compat_sdk import upgrade

    if ray:
        extras.require("ray")
    wanted = options.trusted(public_key, trust)
    if is_address(path):
        on_collection.refuse_of_folders(
            {
                "--shard-rows": shard_rows,
                "--rows-per-second": rows_per_second,
                "--log": log,
                "--missing-side": missing_side != "refuse",
            }
        )
        opener = upgrade_options.opener(transform, engine, precision, threads, wanted)
        on_collection.run_of(path, opener, side, workers=workers, ray=ray, as_json=as_json)
        return
    with console.working() as progress:
        opener = upgrade_options.opener(transform, engine, precision, threads, wanted)
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


@app.command("verify")
def verify(
    path: upgrade_options.Gallery,
    transform: upgrade_options.Transform,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Rows to transform again, images to embed.")] = 256,
    side: upgrade_options.Side = None,
    held_out: upgrade_options.HeldOut = None,
    data: options.OptionalData = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="A folder of images, in place of --data.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which split of DATA.")] = "gallery",
    model: Annotated[
        Path | None, typer.Option("--model", help="New model to embed these images with: a BUNDLE or a RUN.")
    ] = None,
    at_least: Annotated[
        str, typer.Option("--at-least", help="Verdict that passes: better than what is replaced, equal, or worse.")
    ] = "better",
    min_cosine: Annotated[
        float | None, typer.Option("--min-cosine", help="Mean cosine to the new model's vectors that must be reached.")
    ] = None,
    root: options.Root = None,
    engine: options.Engine = "auto",
    precision: upgrade_options.Precision = None,
    threads: upgrade_options.Threads = 1,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Check every digest and a sample of rows, and compare with re-embedding. Exit code 3 if a check fails."""
    from compat_sdk import upgrade

    with_images = data is not None or images is not None
    if with_images != (model is not None) or (with_images and held_out is not None):
        raise ConfigError("expected --model with --data or --images, or --held-out alone, or none of them")
    wanted = options.trusted(public_key, trust)
    if is_address(path):
        on_collection.refuse_of_folders({"--model with --data or --images": model})
        opener, verdict = upgrade_options.opener(transform, engine, precision, threads, wanted), _verdict(at_least)
        checked, wrong, told = on_collection.verify_of(
            path, opener, side, held_out, sample=sample, at_least=verdict, min_cosine=min_cosine
        )
        told += [*_accuracy_lines(checked.accuracy), *_quality_lines(checked.quality)]
        console.report({**asdict(checked), "problems": wrong}, console.lines(told), as_json=as_json)
        if wrong:
            raise CheckFailedError(f"{len(wrong)} problem(s) in the upgrade of {path}")
        return
    if side is not None:
        raise ConfigError("--side is for collections: a gallery folder has its side-information in the upgrade")
    with console.working() as progress:
        opener = upgrade_options.opener(transform, engine, precision, threads, wanted)
        embedded = None
        if model is not None:
            embedded = _embed(path, model, pictures.chosen(data, images, root, split), sample, wanted)
        found = upgrade.verify(
            path,
            opener,
            sample=sample,
            held_out=held_out,
            embedded=embedded,
            at_least=_verdict(at_least),
            min_cosine=min_cosine,
            progress=progress,
        )
    lines = list(found.problems) or [f"{path}: no problems"]
    lines.append(f"shards: {found.shards - found.unfinished} of {found.shards} done; cut over: {found.cut_over}")
    if found.lowest_cosine is not None:
        lines.append(f"transformed again: {found.sampled} rows, lowest cosine {found.lowest_cosine:.6f}")
    lines += [*_accuracy_lines(found.accuracy), *_quality_lines(found.quality)]
    if found.recorded:
        measured = found.accuracy is not None
        next_step = "upgrade cutover" if measured else "verify with --held-out, or --data and --model, before a cutover"
        lines.append(f"next: {next_step}{f' {path}' if measured else ''}")
    payload = {"gallery": str(path), **asdict(found), "problems": list(found.problems)}
    console.report(payload, console.lines(lines), as_json=as_json)
    if found.problems:
        raise CheckFailedError(f"{len(found.problems)} problem(s) in the upgrade of {path}")


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


def _embed(
    gallery: Path, model: Path, wanted: pictures.Pictures, sample: int, trust: Trust | None
) -> tuple[Sequence[str], Embeddings]:
    """Embed an even sample of the pictures that the gallery holds."""
    from compat_sdk.gallery import Gallery
    from compat_sdk.spread import spread

    held = set(Gallery.open(gallery, verify=False).ids)
    shared = [row for row, name in enumerate(wanted.ids) if name in held]
    chosen = wanted.take([shared[place] for place in spread(len(shared), sample)])
    if len(chosen) < 2:
        raise ConfigError(f"found {len(shared)} images whose ids are in {gallery}, expected at least 2 in the sample")
    return chosen.ids, pictures.open_model(model, trust=trust).embed(chosen.images)


def _verdict(value: str) -> Verdict:
    from compat_sdk.upgrade.quality import VERDICTS

    for verdict in VERDICTS:
        if value == verdict:
            return verdict
    raise ConfigError(f"--at-least is {value}, expected one of {', '.join(VERDICTS)}")


def _accuracy_lines(found: Accuracy | None) -> list[str]:
    if found is None:
        return []
    return [
        f"against {found.rows} re-embedded images: mean cosine {found.mean_cosine:.4f}, lowest "
        f"{found.lowest_cosine:.4f}; to another image {found.other_cosine:.4f}",
        f"of the {found.neighbours} nearest by the new model {100 * found.overlap:.1f} % agree; of the old vectors' "
        f"{100 * found.old_overlap:.1f} %, by chance {100 * found.chance_overlap:.1f} %",
    ]


def _quality_lines(found: Quality | None) -> list[str]:
    if found is None:
        return ["nothing is known of what searches will find: there are neither new vectors nor labels"]
    what = "first hits of the right label" if found.judged_by == "labels" else "of the new model's nearest found"
    after = "M(new,h)" if found.queried_by == "new model" else "M(h,h)"
    shown = [
        f"{name} {100 * one.mean:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
        for name, one in (("M(old,old)", found.old_old), (after, found.new_h), ("difference", found.difference))
    ]
    return [f"{', '.join(shown)}: {found.verdict} ({what}, {found.queries} queries, {found.rows} rows)"]
