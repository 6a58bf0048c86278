"""`compat-sdk quickstart`: the whole story on the bundled images, in minutes, ending in a report."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_cli.pages.plan import Plan
    from compat_sdk.datasets import Dataset
    from compat_train.data.origin import Origin


def quickstart(
    out: Annotated[Path, typer.Option("--out", help="Folder for models, gallery and report.")] = Path("quickstart"),
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="PHOTOS",
            help="Your pictures instead of the bundled ones: a folder with one sub-folder per identity, a CSV file "
            "path,label, or a dataset with train, query and gallery.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=1, help="With --data: about how long it may take. [default: 10]"),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            help="With --data: folder that holds the files of a named dataset, or in which the paths of a CSV file "
            "begin.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Train, prove, export, index, search and profile on the bundled images; DIR/report.html tells the story.

    With --data, on your own pictures: side, epochs and part of the pictures are chosen so that it ends in time.
    """
    from compat_cli.pages.report import render
    from compat_cli.pages.sections.outcome import headline
    from compat_cli.pages.story import Story, demo_plan, layout
    from compat_cli.pages.thumbnails import is_tiny, thumbnails
    from compat_sdk.datasets import open_dataset
    from compat_sdk.files.atomic import write_atomic
    from compat_sdk.files.documents import write_json_atomic
    from compat_sdk.outputs import require_own

    if data is None and (minutes is not None or root is not None):
        raise ConfigError("--minutes and --root go with --data PHOTOS; leave them out, or name your pictures")
    extras.require("quickstart")
    require_own(out, layout(), "the quickstart")
    with console.working() as progress:
        plan = demo_plan() if data is None else _plan(data, root, out, minutes or _MINUTES, seed, threads)
        dataset = open_dataset(plan.data, None if plan.root is None else Path(plan.root))
        found, seconds = Story(out, dataset, seed, threads, progress, plan).tell()
    results = gather(dataset, found, seconds, seed, plan)
    pictures = thumbnails(dataset, results["hits"])
    results["data"]["tiny"] = is_tiny(pictures)
    write_atomic(out / "report.html", render(results, pictures).encode())
    write_json_atomic(out / "results.json", results)
    files = f"report: {out / 'report.html'}, figures: {out / 'results.json'}"
    lines = f"{headline(results)}\n{sum(seconds.values()):.0f} seconds of work; {escaped(files)}"
    console.report(results, lines, as_json=as_json)


_MINUTES = 10.0


def _plan(data: str, root: Path | None, out: Path, minutes: float, seed: int, threads: int | None) -> Plan:
    """What is trained on one's own pictures: measured and chosen once, then kept in ``plan.json``."""
    from compat_cli.pages.plan import Plan, divided, first_division, measured, planned, with_batches_of
    from compat_sdk.datasets import NAMES, Dataset, open_dataset
    from compat_sdk.errors import CompatError
    from compat_sdk.files.atomic import write_atomic
    from compat_sdk.files.documents import read_json
    from compat_sdk.files.seal import sealed_json, unsealed
    from compat_train.runs.data_record import require_same_data, write_data_record

    place = data if data in NAMES else str(Path(data).absolute())
    below = None if root is None else str(root.absolute())
    asked = {"data": place, "root": below, "minutes": minutes, "seed": seed}
    whole = _whole_dataset(data, root)
    first = None if whole is not None else first_division(data, root, seed)
    given = whole or Dataset(data, first[0].splits if first is not None else {})
    origin = _origin(given)
    kept = out / "plan.json"
    if kept.exists():
        stored: dict[str, Any] = unsealed(read_json(kept), str(kept))
        if stored.get("asked") != asked:
            raise CompatError(f"{out} holds a quickstart with other settings; choose another --out or delete it")
        require_same_data(out, origin)
        return Plan.from_json(stored["plan"])
    console.note("measuring this machine on some of the pictures")
    speed = measured(given, threads)
    if first is not None:
        place, command = divided(data, root, out / "data", first, speed, minutes)
        train = open_dataset(place).split("train")
        plan = planned(place, len(train), speed, minutes, (command,))
    else:
        train = given.split("train")
        plan = replace(planned(place, len(train), speed, minutes), root=below)
    plan = with_batches_of(plan, train.labels)
    console.note(
        f"{len(train):,} training pictures, {100 * plan.fraction:.3g} % of them used, at {plan.size} pixels, "
        f"{plan.gallery['epochs']} epochs, so that all is done in about {minutes:g} minutes"
    )
    write_data_record(out, origin)
    write_atomic(kept, sealed_json({"asked": asked, "plan": plan.to_json()}))
    return plan


def _origin(given: Dataset) -> Origin:
    """The pictures of every split; those in arrays are a published set's, which nobody changes."""
    from compat_sdk.datasets.split import is_array
    from compat_train.data.origin import Origin

    parts = [(split, split.images) for split in given.splits.values() if not is_array(split.images)]
    return Origin(
        [image for _, images in parts for image in images],
        [label for split, _ in parts for label in split.labels],
        [f"{split.name}/{name}" for split, _ in parts for name in split.ids],
    )


def _whole_dataset(data: str, root: Path | None) -> Dataset | None:
    """The dataset that the pictures are already; None where they are to be divided."""
    from compat_sdk.datasets import NAMES, open_dataset, require_labels
    from compat_sdk.datasets.folder import split_folders
    from compat_sdk.datasets.kanji import is_kanji_folder
    from compat_sdk.datasets.manifest import MANIFEST
    from compat_sdk.errors import DataError

    place = Path(data)
    divided = split_folders(place) or (place / MANIFEST).is_file() or is_kanji_folder(place)
    if place.is_dir() and not divided and data not in NAMES:
        return None
    try:
        found = open_dataset(data, root)
    except DataError as error:
        if place.suffix.lower() == ".csv" and place.is_file() and "data split" in str(error):
            return None
        raise
    for name in ("train", "query", "gallery"):
        require_labels(found.split(name), data, "the quickstart")
    return found


def gather(dataset: Dataset, found: dict[str, Any], seconds: dict[str, float], seed: int, plan: Plan) -> dict[str, Any]:
    """The content of ``results.json``: everything the report shows, except the pictures."""
    from compat_cli.pages.story import METHODS, commands

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
            "easy": plan.easy,
            **{name: len(split) for name, split in dataset.splits.items()},
        },
        "models": {
            "gallery": f"{plan.gallery['arch']}, width {plan.gallery['width']}",
            "query": f"{plan.query['arch']}, width {plan.query['width']}",
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
        "commands": commands(seed, plan),
        "advice": evaluation["query"].get("advice", []),
    }
