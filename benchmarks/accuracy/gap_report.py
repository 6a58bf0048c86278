"""paragon_gap.md from the rows: how far each query model is from the gallery model, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.hard_galleries import values_of
from benchmarks.accuracy.hard_report import GALLERY
from benchmarks.pages import Hits, difference_cell, mean_cell, table, write_page
from benchmarks.rows import Row

_KIND = "hard 1"
_BASE = "regression"
_GOALS = {23: 1.6, 80: 5.0}


def write_report(rows: Sequence[Row], of_kanji_hard: Sequence[Row], page: Path) -> None:
    """Writes the table below the mark of a page, and prints it.

    Args:
        rows: Of paragon_gap.
        of_kanji_hard: Rows of kanji_hard: the gallery models, and the regression that every change starts from.
        page: The page.
    """
    first = [row for row in of_kanji_hard if row["method"] == _BASE]
    galleries = {row["seed"]: row for row in of_kanji_hard if row["method"] == GALLERY}
    write_page(page, "benchmarks.accuracy.paragon_gap", [_table([*first, *rows], first, galleries)])


def _table(rows: Sequence[Row], first: Sequence[Row], galleries: dict[int, Row]) -> str:
    if not galleries:
        return ""
    names = dict.fromkeys(row["method"] for row in rows)
    groups = [[row for row in rows if row["method"] == name and row["seed"] in galleries] for name in names]
    groups = sorted(filter(None, groups), key=lambda group: -float(_across(group).mean()))
    lines = []
    for group in groups:
        paragon = np.stack([values_of(galleries[row["seed"]]["own"][_KIND], "top-1") for row in group])
        alike = [row for row in first if row["seed"] in {one["seed"] for one in group}]
        cost = group[0]["mmacs"]
        ratio = galleries[group[0]["seed"]]["mmacs"] / cost
        own = np.stack([values_of(row["own"][_KIND], "top-1") for row in group])
        lines.append(
            [
                f"{group[0]['method']}: {group[0].get('meaning', 'as kanji_hard has it, 4 epochs')}",
                f"{cost:.3f} ({ratio:.0f}x fewer)",
                mean_cell(_across(group)),
                difference_cell(_across(group), paragon),
                "" if group[0]["method"] == _BASE or not alike else difference_cell(_across(group), _across(alike)),
                difference_cell(_across(group), own),
                f"{np.mean([row['train_hours'] for row in group]):.2f}",
                str(len(group)),
            ]
        )
    header = ["change", "MMACs", "M(q,g)", "to M(g,g)", "to regression", "M(q,g) - M(q,q)", "CPU hours", "seeds"]
    found = "M(g,g): " + mean_cell(np.stack([values_of(row["own"][_KIND], "top-1") for row in galleries.values()]))
    goals = "; ".join(f"{points:g} points at {ratio} times fewer MMACs" for ratio, points in _GOALS.items())
    return table(
        "Top-1 in a gallery with one hard image an identity, best first",
        header,
        lines,
        f"{found}. Goal: within {goals}.",
        "In percent and points. 95 % intervals bootstrapped over seeds and unseen identities. CPU hours are those of "
        "the query model's training, one core.",
    )


def _across(group: Sequence[Row]) -> Hits:
    """M(q,g) by identity, ``[seeds, identities]``."""
    return np.stack([values_of(row["across"][_KIND], "top-1") for row in group])
