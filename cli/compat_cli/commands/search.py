"""`compat-sdk search`: images in, the nearest gallery images out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_cli import console, options, pictures


def search(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="Gallery folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders of images.")],
    model: Annotated[Path, typer.Option("--model", help="Query model: a BUNDLE or a RUN.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits per image.")] = 10,
    index: Annotated[str, typer.Option("--index", help="auto, exact or usearch.")] = "auto",
    require_certificate: Annotated[
        bool,
        typer.Option("--require-certificate", help="Exit code 3 unless an evaluation showed that MODEL may search it."),
    ] = False,
    engine: options.Engine = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """The k most similar gallery images of each image, best first; refused across undeclared spaces."""
    from compat_sdk.certificate import doubt, require_certified
    from compat_sdk.gallery import Gallery
    from compat_sdk.shown import escaped

    stored = Gallery.open(gallery)
    queries = pictures.expand(images)
    embedder = pictures.open_model(model, threads=threads, device=device, engine=engine)
    if require_certificate:
        require_certified(embedder.space, embedder.certificates, stored.space)
    with console.working():
        found = stored.search(embedder.embed(queries), k, index=index)
    doubtful = doubt(embedder.space, embedder.certificates, stored.space)
    if doubtful is not None:
        console.note(f"note: {doubtful}")
    payload = {
        "hits": [[{"id": hit.id, "label": hit.label, "score": float(hit.score)} for hit in hits] for hits in found],
        "queries": [str(path) for path in queries],
        "certified": doubtful is None,
    }
    blocks = []
    for path, hits in zip(queries, found, strict=True):
        lines = [
            f"  {rank:>3}  {hit.score:.4f}  {escaped(hit.label)}  {escaped(hit.id)}"
            for rank, hit in enumerate(hits, start=1)
        ]
        blocks.append("\n".join([escaped(str(path)), *lines]))
    console.report(payload, "\n".join(blocks), as_json=as_json)
