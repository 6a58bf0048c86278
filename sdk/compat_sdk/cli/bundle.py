"""`compat-sdk bundle`: what a bundle holds, and whether it still does what it did when it was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_sdk.cli import console, options

app = typer.Typer(help="Look into an exported bundle.", no_args_is_help=True, rich_markup_mode=None)
_Path = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")]


@app.command("info")
def info(path: _Path, as_json: options.Json = False) -> None:
    """The manifest: space, cost, preprocessing, files. Every file's digest is checked on the way."""
    from compat_sdk.bundle import Bundle

    manifest = Bundle.open(path).manifest
    graphs = [f"{graph.target} {graph.precision} ({graph.file})" for graph in manifest.graphs]
    facts = {
        "name": manifest.name,
        "role": manifest.role,
        "arch": manifest.arch,
        "space": manifest.space,
        "searches": list(manifest.searches),
        "dim": manifest.dim,
        "tier": manifest.tier,
        "mmacs": manifest.mmacs,
        "mmacs_paper": manifest.mmacs_paper,
        "params_m": manifest.params_m,
        "license": manifest.license,
        "created_by": manifest.created_by,
        "preprocessing": manifest.preprocessing.to_json(),
        "graphs": graphs,
        "files": {name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in manifest.files.items()},
    }
    total = sum(record.bytes for record in manifest.files.values())
    shown = {**facts, "searches": ", ".join(manifest.searches) or "only its own space", "graphs": ", ".join(graphs)}
    shown["preprocessing"] = ", ".join(f"{key} {value}" for key, value in manifest.preprocessing.to_json().items())
    shown["files"] = f"{len(manifest.files)} files, {console.size_text(total)}, digests match"
    console.report(facts, "\n".join(f"{key}: {value}" for key, value in shown.items()), as_json=as_json)


@app.command("verify")
def verify(
    path: _Path,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Check every digest, then embed the bundled golden images on this machine and compare. Exit code 3 if off."""
    from compat_sdk.embedder import Embedder

    test = Embedder.load(path, engine=engine, threads=threads).self_test()
    payload = {
        "bundle": str(path),
        "images": test.images,
        "min_cosine": test.min_cosine,
        "max_abs_difference": test.max_abs_difference,
    }
    line = f"{path}: digests match; {test.images} golden images embedded, worst cosine {test.min_cosine:.7f}"
    console.report(payload, line, as_json=as_json)
