"""`compat-sdk quickstart`: the whole story on the bundled images, in minutes, ending in a report."""

from __future__ import annotations

import base64
import io
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compat_cli import console, extras, options
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_sdk.datasets import Dataset


def quickstart(
    out: Annotated[Path, typer.Option("--out", help="Folder for models, gallery and report.")] = Path("quickstart"),
    seed: options.Seed = 0,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Train, prove, export, index, search and profile on the bundled images; DIR/report.html tells the story."""
    from compat_cli.pages.report import headline, render
    from compat_cli.pages.story import DATA, Story, layout
    from compat_sdk.datasets import open_dataset
    from compat_sdk.files import write_atomic, write_json_atomic
    from compat_sdk.outputs import require_own

    extras.require("quickstart")
    require_own(out, layout(), "the quickstart")
    dataset = open_dataset(DATA)
    with console.working() as progress:
        found, seconds = Story(out, dataset, seed, threads, progress).tell()
    results = gather(dataset, found, seconds, seed)
    write_atomic(out / "report.html", render(results, pictures(dataset, results["hits"])).encode())
    write_json_atomic(out / "results.json", results)
    files = f"report: {out / 'report.html'}, figures: {out / 'results.json'}"
    lines = f"{headline(results)}\n{sum(seconds.values()):.0f} seconds of work; {escaped(files)}"
    console.report(results, lines, as_json=as_json)


def gather(dataset: Dataset, found: dict[str, Any], seconds: dict[str, float], seed: int) -> dict[str, Any]:
    """The content of ``results.json``: everything the report shows, except the pictures."""
    from compat_cli.pages.story import GALLERY, METHODS, QUERY, commands

    gallery, query, vanilla, evaluation, exported, _, search, profiles = found.values()
    return {
        "compat_sdk": version("compat-sdk"),
        "created": datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
        },
        "seed": seed,
        "method": METHODS["query"],
        "data": {
            "description": dataset.description,
            "classes": len(dataset.splits["gallery"].classes),
            **{name: len(split) for name, split in dataset.splits.items()},
        },
        "models": {
            "gallery": f"{GALLERY['arch']}, width {GALLERY['width']}",
            "query": f"{QUERY['arch']}, width {QUERY['width']}",
        },
        "spaces": {"gallery": gallery["space"], "query": query["space"], "vanilla": vanilla["space"]},
        "evaluation": evaluation,
        "cost_curve": evaluation["query"]["amortised_mmacs"],
        "bundles": {"gallery": exported["gallery"], "query": exported["query"]},
        "profiles": {"gallery": profiles["gallery"], "query": profiles["query"]},
        "hits": search["hits"],
        "refused": search["refused"],
        "search_top1": search["top1"],
        "training": [
            {"name": name, "colour": colour, "epoch": run["epoch"], "loss": run["loss"]}
            for name, colour, run in (
                ("large", "large", gallery),
                ("small, compatible", "het", query),
                ("small, alone", "refused", vanilla),
            )
        ],
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "commands": commands(seed),
    }


def pictures(dataset: Dataset, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """A ``data:`` URI (PNG) of each query and gallery image that the rows name."""
    from PIL import Image

    from compat_sdk.images import open_image

    wanted = {row["id"] for row in rows} | {hit["id"] for row in rows for hit in (*row["hits"], *row["unchecked"])}
    found: dict[str, str] = {}
    for name in ("query", "gallery"):
        split = dataset.splits[name]
        for place, identity in enumerate(split.ids):
            if identity in wanted:
                buffer = io.BytesIO()
                image: Image.Image = open_image(split.images[place], None)
                image.save(buffer, "PNG", optimize=True)
                found[identity] = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return found
