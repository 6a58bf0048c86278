"""`compat-sdk app`: applications that search on the device, written from a bundle and a gallery."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compat_cli import console, options
from compat_cli.groups import Group

app = typer.Typer(
    help="Write an application that searches on the device.", no_args_is_help=True, rich_markup_mode=None, cls=Group
)


@app.callback()
def applications() -> None:
    """Write an application that searches on the device."""


@app.command("web")
def web(
    bundle: Annotated[Path, typer.Option("--bundle", help="Query model: a BUNDLE with an ONNX graph.")],
    gallery: Annotated[Path, typer.Option("--gallery", help="Gallery folder that it searches.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the site to write.")],
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Folder whose pictures the gallery was built from.", show_default=False),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            "--onnxruntime-web",
            help="The npm package onnxruntime-web; the nearest node_modules if not given.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Shown above the page.")] = "Visual search",
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="Hits shown for a picture.")] = 12,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Which ONNX graph; the first listed if not given.")
    ] = None,
    picture_side: Annotated[
        int, typer.Option("--picture-side", min=16, max=2048, help="Longer side of the gallery's pictures, in pixels.")
    ] = 320,
    webgpu: Annotated[
        bool,
        typer.Option(
            "--webgpu/--no-webgpu", help="The engine's part for browsers with WebGPU comes along: 27 MB more."
        ),
    ] = True,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """A static site that searches in the visitor's browser; the folder goes on any static host."""
    from compat_cli.pages.website import write_site
    from compat_sdk.bundle import Bundle
    from compat_sdk.certificate import doubt

    wanted = options.trusted(public_key, trust)
    with console.working() as progress:
        opened = Bundle.open(bundle, trust=wanted)
        site = write_site(
            out,
            opened,
            gallery,
            onnxruntime_web=onnxruntime_web,
            pictures=pictures,
            title=title,
            k=k,
            precision=precision,
            side=picture_side,
            webgpu=webgpu,
            trust=wanted,
            progress=progress,
        )
    if site.pictures < site.rows and pictures is not None:
        console.note(f"note: {site.rows - site.pictures} of {site.rows} rows have no picture in {pictures}")
    if doubtful := doubt(opened.manifest.space, opened.manifest.certificates, site.space):
        console.note(f"note: {doubtful}")
    payload = asdict(site) | {"path": str(site.path)}
    text = (
        f"wrote {site.path}: {site.rows} rows, {site.pictures} pictures, {console.size_text(site.bytes)}\n"
        f"look at it: python -m http.server --directory {site.path} 8000, then http://localhost:8000"
    )
    console.report(payload, text, as_json=as_json)
