"""Writes docs/claims/: a page for each claim, with its picture, its table, its command and what failed.

Everything on such a page is taken from the benchmark's own page, which its script writes: the claim is the bold line
below the title, and the table, the section "What failed" and the commands are as they stand there. The picture is
drawn from the table. A claim whose benchmark has no rows yet has no page.

    python -m benchmarks.claims            # after new rows
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "claims"
_CELL = re.compile(r"([+-]?\d+(?:\.\d+)?) \[([+-]?\d+(?:\.\d+)?), ([+-]?\d+(?:\.\d+)?)\]")
_UNKNOWN = "Not measured yet"  # what a benchmark's page says before it has rows
_COLOURS = ("#3b82e0", "#d9730d")


@dataclass(frozen=True)
class Claim:
    """Where the parts of a page stand.

    Attributes:
        name: Of the page's file.
        source: Page of the benchmark, from ``benchmarks/``.
        table: Title of its table, or how it begins.
        columns: Headers of one or two columns of the table with intervals, which the picture shows.
        section: Heading above the table, where several tables have its title.
        axis: What the columns are, with their unit.
    """

    name: str
    source: str
    table: str
    columns: tuple[str, ...]
    section: str = ""
    axis: str = "top-1 in percent"


CLAIMS = (
    Claim("hard-gallery", "accuracy/kanji_hard.md", "Top-1 in a gallery with one", ("M(q,q)", "M(q,g)")),
    Claim("gap", "accuracy/paragon_gap.md", "Top-1 in a gallery with one", ("M(q,g)",)),
    Claim("half-way", "accuracy/half_way.md", "A gallery that meets", ("M(g,g)", "M(q,g)")),
    Claim("cmp-nas", "studies/cmp_nas/cmp_nas.md", "Static networks", ("M(q,q)", "M(q,g)")),
    Claim(
        "ranking",
        "studies/cmp_nas/ranking.md",
        "Scores of the shared weights",
        ("M(q,g)", "R3"),
        axis="Spearman correlation",
    ),
    Claim("global-nas", "studies/global_nas/global_nas.md", "R3 at 1.45 MMACs", ("M(q,q)", "M(q,g)"), "kanji"),
    Claim("combined", "studies/combined/combined.md", "Searches within", ("M(q,q)", "M(q,g)")),
    Claim("upgrades", "studies/upgrades/upgrades.md", "Old gallery, new queries", ("top-1",), "kanji"),
)
"""Every claim that has a page, in the order of the site."""


@dataclass(frozen=True)
class _Table:
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    text: str


def page_of(claim: Claim) -> str | None:
    """The text of a claim's page; None while its benchmark has no rows.

    Raises:
        ValueError: The benchmark's page lacks the claim, a column, its commands or what failed.
    """
    source = (ROOT / "benchmarks" / claim.source).read_text("utf-8")
    found = _table(source, claim)
    if found is None:
        return None
    if missing := [name for name in claim.columns if name not in found.header]:
        raise ValueError(f"the table of {claim.source} has no column {missing[0]}, but {', '.join(found.header)}")
    title = source.splitlines()[0].removeprefix("# ")
    said = re.search(r"^\*\*(.+?)\*\*$", source, re.MULTILINE | re.DOTALL)
    if said is None or said[1].startswith(_UNKNOWN):
        raise ValueError(f"{claim.source} has no bold line below its title that says what its rows show")
    failed, told = (_section(source, name, claim) for name in ("What failed", "Commands"))
    commands = "\n".join(line for line in told.splitlines() if line.startswith("    "))
    if not commands:
        raise ValueError(f"{claim.source} has no commands")
    parts = [
        f"# {title}",
        f"**{said[1]}**",
        f"![{title}]({claim.name}.png)",
        found.text,
        f"## What failed\n\n{failed}",
        f"## The commands\n\n{commands}",
        f"[What was measured, and all tables](../../benchmarks/{claim.source}). "
        "This page is written by `python -m benchmarks.claims`.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(source: str, claim: Claim) -> _Table | None:
    """The claim's table and its notes, or None."""
    text = source.partition("<!-- below this line")[2]
    if claim.section:
        text = re.split(r"^## ", text.partition(f"\n## {claim.section}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    place = re.search(rf"^### {re.escape(claim.table)}.*$", text, re.MULTILINE)
    if place is None:
        return None
    kept = re.split(r"^#|^!\[|^<!--", text[place.end() :], maxsplit=1, flags=re.MULTILINE)[0].strip()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in kept.splitlines() if line[:1] == "|"]
    return _Table(rows[0], rows[2:], kept)


def _section(source: str, name: str, claim: Claim) -> str:
    """Text of a section of a page, to the next heading or mark."""
    text = source.partition(f"\n## {name}\n")[2]
    kept = re.split(r"^## |^<!--", text, maxsplit=1, flags=re.MULTILINE)[0].strip("\n")
    if not kept:
        raise ValueError(f"{claim.source} has no section {name!r}")
    return kept


def _draw(claim: Claim, path: Path) -> None:
    """A dot and a whisker for every line of the table, of one colour a column."""
    from matplotlib.figure import Figure

    source = (ROOT / "benchmarks" / claim.source).read_text("utf-8")
    found = _table(source, claim)
    assert found is not None  # it has a page
    places = [list(found.header).index(name) for name in claim.columns]
    lines = [line for line in found.lines if any(_CELL.search(line[place]) for place in places)]
    figure = Figure(figsize=(7.2, 0.9 + 0.34 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for number, (name, place) in enumerate(zip(claim.columns, places, strict=True)):
        cells = [(row, match) for row, line in enumerate(lines) if (match := _CELL.search(line[place]))]
        values = [[float(match[part]) for _, match in cells] for part in (1, 2, 3)]
        whiskers = [
            [value - low for value, low in zip(values[0], values[1], strict=True)],
            [high - value for value, high in zip(values[0], values[2], strict=True)],
        ]
        heights = [row + 0.12 * (2 * number - len(places) + 1) for row, _ in cells]
        axes.errorbar(values[0], heights, xerr=whiskers, fmt="o", color=_COLOURS[number], capsize=2, label=name)
    axes.set_yticks(range(len(lines)), [line[0].split(":")[0].split(" (")[0] for line in lines])
    axes.invert_yaxis()
    axes.set_xlabel(f"{claim.axis}, with 95 % intervals")
    axes.grid(axis="x", linewidth=0.5, color="#d0d7de")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Writes every page and picture whose benchmark has rows."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    FOLDER.mkdir(exist_ok=True)
    for claim in CLAIMS:
        text = page_of(claim)
        if text is not None:
            (FOLDER / f"{claim.name}.md").write_text(text, "utf-8")
            _draw(claim, FOLDER / f"{claim.name}.png")
            print(FOLDER / f"{claim.name}.md")


if __name__ == "__main__":
    main()
