"""kanji_hard.md from the rows: does the rule hold, by which metric, and in which gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.hard_galleries import GALLERIES, values_of
from benchmarks.pages import Hits, mean_cell, table, write_page
from benchmarks.pages import difference_cell as difference
from benchmarks.rows import Row

GALLERY = "gallery model"
"""Method of the rows that hold M(g,g)."""

MEANINGS: dict[str, str] = {
    "bct": "own classifier and the gallery's",
    "bct-regression": "both, and regression",
    "regression": "the gallery's vectors alone, no label",
    "infonce": "which of a bank's vectors is the image's own, no label",
    "csd": "similarities to a bank of vectors, no label",
    "bct-500": "bct on 500 characters, as many steps",
    "regression-500": "regression on 500 characters, as many steps",
    "bct-1000": "bct on 1,000 characters, as many steps",
    "regression-1000": "regression on 1,000 characters, as many steps",
    "bct-own-0.1": "bct with a tenth of the own classifier",
    "bct-margin-0": "bct without a margin",
    "bct-own-0.1-margin-0": "bct with a tenth of the own classifier and no margin",
    "classifier": "the gallery's classifier alone",
}
"""What each method is, in a few words, in the order of the tables."""
_INTERVALS = "95 % intervals bootstrapped over seeds and unseen identities, each a mean over its queries and the draws."


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes the tables of the rows below the mark of a page, and prints them."""
    write_page(page, "benchmarks.accuracy.kanji_hard", [_headline(rows), _metrics(rows), _galleries(rows)])


def _values(rows: Sequence[Row], side: str, metric: str, kind: str = GALLERIES[0]) -> Hits:
    """``[runs, identities]``."""
    return np.stack([values_of(row[side][kind], metric) for row in rows])


def _paragon(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["method"] == GALLERY]


def _by_method(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    found = [(name, [row for row in rows if row["method"] == name]) for name in MEANINGS]
    return [(name, of_method) for name, of_method in found if of_method]


def _headline(rows: Sequence[Row]) -> str:
    lines = []
    for name, of_method in _by_method(rows):
        own, across = (_values(of_method, side, "top-1") for side in ("own", "across"))
        gaps = [
            there - alone
            for row in of_method
            for there, alone in zip(
                *(row[side][GALLERIES[0]]["draws"]["top-1"] for side in ("across", "own")), strict=True
            )
        ]
        hours = np.mean([row["train_hours"] for row in of_method])
        lines.append(
            [
                f"{name}: {MEANINGS[name]}",
                mean_cell(own),
                mean_cell(across),
                difference(across, own),
                f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}",
                f"{hours:.2f}",
            ]
        )
    paragon = _paragon(rows)
    if paragon:
        hours = np.mean([row["train_hours"] for row in paragon])
        lines.append(
            ["the gallery model, M(g,g)", "", mean_cell(_values(paragon, "own", "top-1")), "", "", f"{hours:.2f}"]
        )
    header = ["query model trained by", "M(q,q)", "M(q,g)", "M(q,g) - M(q,q)", "rule holds in draws", "CPU hours"]
    return table("Top-1 in a gallery with one hard image an identity", header, lines, f"In percent. {_INTERVALS}")


def _metrics(rows: Sequence[Row]) -> str:
    lines = []
    for name, of_method in _by_method(rows):
        cells = [name]
        for metric in ("mAP", "TPIR"):
            own, across = (_values(of_method, side, metric) for side in ("own", "across"))
            cells += [f"{100 * own.mean():.1f}", f"{100 * across.mean():.1f}", difference(across, own)]
        lines.append(cells)
    for metric_row in [_paragon(rows)] if _paragon(rows) else []:
        means = [100 * _values(metric_row, "own", metric).mean() for metric in ("mAP", "TPIR")]
        lines.append(["M(g,g)", "", f"{means[0]:.1f}", "", "", f"{means[1]:.1f}", ""])
    header = ["query model", "mAP (q,q)", "mAP (q,g)", "difference"]
    header += ["TPIR@FPIR=0.1 (q,q)", "(q,g)", "difference"]
    return table("The same by mAP and by TPIR at FPIR 0.1", header, lines)


def _galleries(rows: Sequence[Row]) -> str:
    lines = []
    for name, of_method in _by_method(rows):
        cells = [name]
        for kind in GALLERIES:
            own, across = (_values(of_method, side, "top-1", kind) for side in ("own", "across"))
            cells += [f"{100 * across.mean():.1f}", difference(across, own)]
        lines.append(cells)
    if found := _paragon(rows):
        lines.append(
            [
                "M(g,g)",
                *(
                    text
                    for kind in GALLERIES
                    for text in (f"{100 * _values(found, 'own', 'top-1', kind).mean():.1f}", "")
                ),
            ]
        )
    header = ["query model", *(text for kind in GALLERIES for text in (f"{kind}: M(q,g)", "M(q,g) - M(q,q)"))]
    return table("The same models and queries in three galleries, top-1", header, lines)
