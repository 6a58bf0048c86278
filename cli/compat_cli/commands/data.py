"""`compat-sdk data`: look at a dataset, divide pictures into its splits, build the kanji set or the clipart set."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from compat_cli import console, options
from compat_cli.groups import Group
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_sdk.datasets.partition import By

app = typer.Typer(
    help="Look at a dataset, make one of your pictures, or build one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)
_build_app = typer.Typer(
    help="Build a dataset on this machine.", no_args_is_help=True, rich_markup_mode=None, cls=Group
)
app.add_typer(_build_app, name="build")


@app.command("info")
def info(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a CSV manifest, or a name such as sample.")],
    root: options.Root = None,
    decode: Annotated[bool, typer.Option("--decode/--no-decode", help="Open every image to find corrupt ones.")] = True,
    lock: Annotated[
        bool, typer.Option("--lock", help="Write digests of all its files beside it; changed data is refused then.")
    ] = False,
    near_copies: Annotated[
        bool,
        typer.Option(
            "--near-copies", help="Also find images that look like one of another split; otherwise equal bytes alone."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Counts per split, classes, image sizes and the problems found. Exit code 3 if it cannot be used."""
    from compat_sdk.datasets import check_dataset, dataset_info, lock_dataset, open_dataset

    if near_copies and not decode:
        raise ConfigError("--near-copies looks at every image, and --no-decode at none; leave one of them out")
    if lock:
        console.note(f"locked by {lock_dataset(data, root)}")
    dataset = open_dataset(data, root)
    problems = check_dataset(dataset, decode=decode, near_copies=near_copies)
    facts = dataset_info(dataset, problems)
    console.report(facts, _text(facts), as_json=as_json)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        raise CheckFailedError(f"{errors} problem(s) above must be repaired before {data} can be used")


@app.command("split")
def split(
    photos: Annotated[
        str,
        typer.Argument(
            metavar="PHOTOS", help="A folder with one sub-folder per identity, or a CSV file with columns path,label."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it opens as a dataset: --data OUT.")],
    val: Annotated[
        float, typer.Option("--val", help="Fraction that judges candidates and watches trainings; 0 for none.")
    ] = 0.1,
    test: Annotated[float, typer.Option("--test", help="Fraction that is searched with and searched in.")] = 0.3,
    queries: Annotated[
        float, typer.Option("--queries", help="Fraction of an identity's test pictures that are queries.")
    ] = 0.3,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="identity|picture",
            help="identity: those of query and gallery are in no other split, as in use. picture: all identities are "
            "in all splits, for a few of them with many pictures.",
        ),
    ] = "identity",
    relative: Annotated[
        bool, typer.Option("--relative", help="Write paths relative to PHOTOS; the dataset opens with --root PHOTOS.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder that relative paths of a CSV file begin in.", show_default=False),
    ] = None,
    near_copies: Annotated[
        bool,
        typer.Option(
            "--near-copies",
            help="Leave out what looks like a picture that stays: saved again, shrunk or slightly cropped.",
        ),
    ] = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Divide pictures into train, val, query and gallery. No picture is copied or moved.

    Pictures of equal bytes count once, so that none stands in two splits; --near-copies also finds those that only look
    alike. The same pictures and seed give the same division.
    """
    from compat_sdk.datasets import Shares, divide
    from compat_sdk.datasets.partition import DIVISION
    from compat_sdk.images import FoundPictures
    from compat_sdk.outputs import require_own

    require_own(out, DIVISION, "data split")
    shares = Shares(val=val, test=test, queries=queries, by=cast("By", by), seed=seed)
    done = divide(photos, shares, root=root, leave_near_copies_out=near_copies)
    written = done.write(out, relative=relative)
    sizes = {name: (len(part), len(part.classes)) for name, part in done.splits.items()}
    facts = {
        "data": str(out),
        "manifest": str(written),
        "root": str(photos if root is None else root) if relative else None,
        "images": {name: images for name, (images, _) in sizes.items()},
        "identities": {name: identities for name, (_, identities) in sizes.items()},
        "left_out": dict(done.left_out),
        "untested_identities": done.untested,
        "seed": seed,
    }
    rows = [[name, str(images), str(identities)] for name, (images, identities) in sizes.items()]
    lines = console.table(["split", "images", "identities"], rows).splitlines()
    lines += [FoundPictures((), done.left_out).note()] if done.left_out else []
    if done.untested:
        lines.append(f"{done.untested} identities have too few pictures to be searched for; theirs are in train or val")
    with_root = f" --root {shlex.quote(str(facts['root']))}" if relative else ""
    lines.append(f"use it with: --data {shlex.quote(str(out))}{with_root}")
    console.report(facts, console.lines(lines), as_json=as_json)


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
    """Draw 2,965 characters with the fonts of this machine: open-set benchmarks, kanji and the harder kanji-hard."""
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
