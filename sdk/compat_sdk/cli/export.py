"""`compat-sdk export`: a trained run becomes a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_sdk.cli import console, extras, options
from compat_sdk.errors import ConfigError


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that a train command wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Bundle folder to write.")],
    target: Annotated[str, typer.Option("--target", help="onnx, or all targets of this release.")] = "onnx",
    precision: Annotated[str, typer.Option("--precision", help="fp32.")] = "fp32",
    tier: Annotated[
        str | None, typer.Option("--tier", help="Cost tier; from the MACs if not given.", show_default=False)
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
    as_json: options.Json = False,
) -> None:
    """Convert, compare with the checkpoint image by image, and publish only what agrees."""
    extras.require("export-onnx")
    from compat_export.pack import TARGETS, export_run

    if target not in (*TARGETS, "all"):
        raise ConfigError(f"target {target!r} is not in this release; available: {', '.join(TARGETS)}, all")

    with console.working():
        done = export_run(
            run,
            target=TARGETS[0] if target == "all" else target,
            precision=precision,
            out=out,
            tier=tier,
            license=license_name,
            overwrite=overwrite,
        )
    manifest = done.bundle.manifest
    may = f", searches {', '.join(manifest.searches)}" if manifest.searches else ""
    lines = (
        f"{out}: {manifest.role} bundle, {console.size_text(done.bytes)}, space {manifest.space}{may}\n"
        f"parity on {done.parity.images} images: worst cosine {done.parity.worst_cosine:.7f}, "
        f"largest difference {done.parity.max_abs_difference:.1e}"
    )
    console.report(done.to_json(), lines, as_json=as_json)
