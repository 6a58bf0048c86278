"""`compat-sdk upgrade verify`: what is checked before a cutover, and after it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, options, pictures
from compat_cli.commands import upgrade_collection as on_collection
from compat_cli.commands import upgrade_options
from compat_cli.commands.upgrade_shown import accuracy_lines, quality_lines
from compat_cli.grouped import grouped
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.kinds import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compat_sdk.bundle import Trust
    from compat_sdk.space import Embeddings
    from compat_sdk.upgrade.quality import Verdict


@grouped
def verify(
    path: upgrade_options.Gallery,
    *,
    transform: upgrade_options.Transform,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Rows to transform again, images to embed.")] = 256,
    side: upgrade_options.Side = None,
    held_out: upgrade_options.HeldOut = None,
    of: upgrade_options.Images,
    model: Annotated[
        Path | None, typer.Option("--model", help="New model to embed these images with: a BUNDLE or a RUN.")
    ] = None,
    at_least: Annotated[
        str, typer.Option("--at-least", help="Verdict that passes: better than what is replaced, equal, or worse.")
    ] = "better",
    min_cosine: Annotated[
        float | None, typer.Option("--min-cosine", help="Mean cosine to the new model's vectors that must be reached.")
    ] = None,
    how: upgrade_options.How,
    as_json: options.Json = False,
) -> None:
    """Check every digest and a sample of rows, and compare with re-embedding. Exit code 3 if a check fails."""
    from compat_sdk import upgrade

    with_images = of.data is not None or of.images is not None
    if with_images != (model is not None) or (with_images and held_out is not None):
        raise ConfigError("expected --model with --data or --images, or --held-out alone, or none of them")
    if is_address(path):
        on_collection.refuse_of_folders({"--model with --data or --images": model})
        opener, verdict = upgrade_options.opener(transform, how), _verdict(at_least)
        checked, wrong, told = on_collection.verify_of(
            path, opener, side, held_out, sample=sample, at_least=verdict, min_cosine=min_cosine
        )
        told += [*accuracy_lines(checked.accuracy), *quality_lines(checked.quality)]
        console.report({**asdict(checked), "problems": wrong}, console.lines(told), as_json=as_json)
        if wrong:
            raise CheckFailedError(f"{len(wrong)} problem(s) in the upgrade of {path}")
        return
    if side is not None:
        raise ConfigError("--side is for collections: a gallery folder has its side-information in the upgrade")
    with console.working() as progress:
        opener = upgrade_options.opener(transform, how)
        embedded = None
        if model is not None:
            embedded = _embed(path, model, of.pictures(), sample, how.trusted())
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
    lines += [*accuracy_lines(found.accuracy), *quality_lines(found.quality)]
    if found.recorded:
        measured = found.accuracy is not None
        next_step = "upgrade cutover" if measured else "verify with --held-out, or --data and --model, before a cutover"
        lines.append(f"next: {next_step}{f' {path}' if measured else ''}")
    payload = {"gallery": str(path), **asdict(found), "problems": list(found.problems)}
    console.report(payload, console.lines(lines), as_json=as_json)
    if found.problems:
        raise CheckFailedError(f"{len(found.problems)} problem(s) in the upgrade of {path}")


def _embed(
    gallery: Path, model: Path, wanted: pictures.Pictures, sample: int, trust: Trust | None
) -> tuple[Sequence[str], Embeddings]:
    """Embed an even sample of the pictures that the gallery holds."""
    from compat_sdk.gallery import Gallery
    from compat_sdk.spread import spread

    held = Gallery.open(gallery, verify=False).held(wanted.ids)
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
