"""The report of a system: one HTML file with everything inside, readable in light and dark and on a phone.

The demo, `quickstart --data` and `evaluate --report` give what they measured; a section is there where its figures are.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from compat_cli.pages.sections.accuracy import accuracies, harder_question
from compat_cli.pages.sections.cost import costs
from compat_cli.pages.sections.hits import nearest
from compat_cli.pages.sections.origin import colophon, trainings
from compat_cli.pages.sections.outcome import outcome, what_ran
from compat_cli.pages.sections.results import Results
from compat_sdk.shown import escaped

MARK = "compat-sdk report"
"""Title of every report, by which a file is known as one."""


def render(results: Results, pictures: Mapping[str, str]) -> str:
    """The report as a self-contained HTML page.

    Args:
        results: What was measured, as in the quickstart's ``results.json``; of an evaluation alone without
            ``profiles``, ``training``, ``refused``, ``seconds`` and the evaluation of a model that was trained alone.
        pictures: ``data:`` URI of each image named in the hits, by id.

    Returns:
        HTML text without any external resource.
    """
    sections = [outcome(results), what_ran(results), accuracies(results)]
    if results["data"].get("easy"):
        sections.append(harder_question())
    sections += [nearest(results, pictures), costs(results)]
    if "training" in results:
        sections.append(trainings(results))
    body = "\n".join((*sections, colophon(results)))
    style = files("compat_cli.pages").joinpath("report.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{MARK}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    return escaped(page, keep="\n")  # a name turns no line around, and is one that a file can hold
