"""`compat-sdk data`: look at a dataset, build the kanji set or the clipart set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compat_cli import console, options
from compat_sdk.errors import CheckFailedError
from compat_sdk.shown import escaped

app = typer.Typer(help="Look at a dataset, or build one.", no_args_is_help=True, rich_markup_mode=None)
_build_app = typer.Typer(help="Build a dataset on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(_build_app, name="build")


@app.command("info")
def info(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a CSV manifest, or a name such as sample.")],
    root: options.Root = None,
    decode: Annotated[bool, typer.Option("--decode/--no-decode", help="Open every image to find corrupt ones.")] = True,
    lock: Annotated[
        bool, typer.Option("--lock", help="Write digests of all its files beside it; changed data is refused then.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Counts per split, classes, image sizes and the problems found. Exit code 3 if it cannot be used."""
    from compat_sdk.datasets import check_dataset, dataset_info, lock_dataset, open_dataset

    if lock:
        console.note(f"locked by {lock_dataset(data, root)}")
    dataset = open_dataset(data, root)
    problems = check_dataset(dataset, decode=decode)
    facts = dataset_info(dataset, problems)
    console.report(facts, _text(facts), as_json=as_json)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        raise CheckFailedError(f"{errors} problem(s) above must be repaired before {data} can be used")


def _text(facts: Mapping[str, Any]) -> str:
    """A table of the splits, then the problems, each with examples."""
    header = ["split", "images", "classes", "not in train", "images per class", "smallest", "largest"]
    rows = []
    for name, split in facts["splits"].items():
        counts = split["images_per_class"]
        rows.append(
            [
                name,
                str(split["images"]),
                str(split["classes"]),
                str(split["classes_unseen_in_train"]),
                f"{counts['min']}..{counts['max']}",
                "x".join(map(str, split["smallest_image"])),
                "x".join(map(str, split["largest_image"])),
            ]
        )
    lines = [escaped(f"{facts['name']}: {facts['description']}"), console.table(header, rows)]
    for problem in facts["problems"]:
        examples = f" (such as {', '.join(map(escaped, problem['examples']))})" if problem["examples"] else ""
        lines.append(f"{problem['severity']}: {escaped(problem['message'])}{examples}")
    if not facts["problems"]:
        lines.append("no problems found")
    return "\n".join(lines)


@_build_app.command("kanji")
def build_kanji(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    processes: Annotated[
        int | None, typer.Option("--threads", min=1, help="Processes that draw; one per CPU.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw 2,965 characters with the fonts of this machine: an open-set retrieval benchmark."""
    from compat_train.data.kanji.builder import build_kanji as build

    with console.working() as progress:
        done = build(out, progress=progress, processes=processes)
    facts = {
        "data": "kanji",
        "root": str(done.path),
        "images": dict(done.images),
        "identities": dict(done.identities),
        "print_faces": list(done.print_faces),
        "query_faces": list(done.query_faces),
        "dropped": dict(done.dropped),
    }
    counts = ", ".join(f"{name} {count}" for name, count in done.images.items())
    console.report(
        facts, f"images: {counts}\nuse it with: --data kanji --root {escaped(str(done.path))}", as_json=as_json
    )


@_build_app.command("clipart")
def build_clipart(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--source", help="Folder of drawings; where Debian's openclipart-png puts them.", show_default=False
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--threads", min=1, help="Processes that read; one per CPU.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make drawings a benchmark: pictures without labels to train on, and instances of unseen ones to search for."""
    from compat_train.data.clipart.builder import build_clipart as build

    with console.working() as progress:
        done = build(out, source=source, progress=progress, processes=processes)
    facts = {
        "data": str(done.path),
        "images": dict(done.images),
        "identities": done.identities,
        "left_out": dict(done.left_out),
    }
    counts = ", ".join(f"{name} {count}" for name, count in done.images.items())
    left_out = ", ".join(f"{count} {why}" for why, count in sorted(done.left_out.items())) or "none"
    text = f"images: {counts}\nleft out: {left_out}\nuse it with: --data {escaped(str(done.path))}"
    console.report(facts, text, as_json=as_json)
