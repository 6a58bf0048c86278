"""`compat-sdk profile`: what a model costs, counted and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_sdk.cli import console, extras, options

if TYPE_CHECKING:
    from compat_sdk.profile import Profile


def profile(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Architecture names, RUN folders or BUNDLE folders.")
    ],
    size: Annotated[int, typer.Option("--size", min=16, help="Input side in pixels, for architecture names.")] = 112,
    engine: options.Engine = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of the engine.")] = 1,
    as_json: options.Json = False,
) -> None:
    """MACs in both conventions, parameters, latency cold and warm, peak memory."""
    from compat_sdk.profile import format_table

    with console.working() as progress:
        found = []
        for done, model in enumerate(models, start=1):
            found.append(measure(model, size=size, engine=engine, threads=threads))
            progress("profile", done, len(models), {})
    console.report([one.to_json() for one in found], format_table(found), as_json=as_json)


def measure(model: str, *, size: int = 112, engine: str = "auto", threads: int = 1) -> Profile:
    """The profile of a bundle, a run or an architecture, whichever ``model`` names."""
    if (Path(model) / "manifest.json").is_file():
        from compat_sdk.profile import profile_bundle

        return profile_bundle(Path(model), engine=engine, threads=threads)
    extras.require("export-onnx")
    from compat_export.profile_model import profile_architecture, profile_run

    if Path(model).is_dir():
        return profile_run(Path(model), engine=engine, threads=threads)
    return profile_architecture(model, size=size, engine=engine, threads=threads)
