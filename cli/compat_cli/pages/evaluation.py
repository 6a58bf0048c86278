"""The report of one's own evaluation: the page of the demo, with what was measured here."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_cli.pages.report import MARK, render
from compat_cli.pages.thumbnails import is_tiny, thumbnails
from compat_sdk.errors import ConfigError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.outputs import Layout, require_own, require_place
from compat_sdk.shown import as_unicode

if TYPE_CHECKING:
    from compat_sdk.datasets import Dataset
    from compat_train.evaluation.result import Evaluation

_LAYOUT: Layout = {r"report\.html": None}


def report_place(wanted: Path) -> Path:
    """The file that ``--report`` names: itself where it ends in .html, else ``report.html`` in that folder.

    Raises:
        ConfigError: Something is there that is no report.
    """
    if wanted.suffix.lower() not in (".html", ".htm"):
        require_own(wanted, _LAYOUT, "evaluate --report")
        return wanted / "report.html"
    require_place(wanted)
    if wanted.is_symlink() or wanted.exists():
        head = b"" if not wanted.is_file() or wanted.is_symlink() else wanted.read_bytes()[:1000]
        if MARK.encode() not in head:
            raise ConfigError(f"{wanted} exists and is no report; choose another name, or move it away")
    return wanted


def write_report(place: Path, found: Evaluation, dataset: Dataset, words: Sequence[str], advice: Sequence[str]) -> None:
    """Write the page.

    Args:
        place: From `report_place`.
        found: Evaluated with examples.
        dataset: What it was evaluated on.
        words: The command that was typed.
        advice: What to try, where the rule does not hold.
    """
    results = evaluation_results(found, dataset, shlex.join(words), advice)
    pictures = thumbnails(dataset, results["hits"])
    results["data"]["tiny"] = is_tiny(pictures)
    make_folder(place.parent)
    write_atomic(place, render(results, pictures).encode())


def evaluation_results(found: Evaluation, dataset: Dataset, commands: str, advice: Sequence[str]) -> dict[str, Any]:
    """What a report needs to know of an evaluation, as `compat_cli.pages.report.render` takes it."""
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    return {
        "kicker": "compat-sdk evaluate",
        "compat_sdk": version("compat-sdk"),
        "created": datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"},
        "data": {
            "description": f"{dataset.name}: {dataset.description}",
            "classes": len(gallery.classes),
            **{name: len(split) for name, split in dataset.splits.items()},
        },
        "models": {"gallery": found.gallery_name, "query": found.query_name},
        "spaces": {"gallery": found.gallery_space, "query": found.query_space},
        "evaluation": {"query": found.to_json()},
        "cost_curve": None if found.amortised is None else found.amortised.to_json(),
        "milliseconds": {"gallery": found.gallery_ms, "query": found.query_ms},
        "hits": [
            {
                "id": as_unicode(query.ids[each.row]),
                "label": query.labels[each.row],
                "hits": [
                    {"id": as_unicode(gallery.ids[row]), "label": gallery.labels[row], "score": score}
                    for row, score in each.hits
                ],
            }
            for each in found.examples
        ],
        "advice": list(advice),
        "commands": commands,
    }
