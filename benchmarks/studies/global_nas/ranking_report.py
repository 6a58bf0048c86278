"""How well short trainings rank networks, from the rows of the study."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.pages import Interval, table
from benchmarks.rows import Row
from compat_sdk.metrics import rank_correlation

RANKINGS = {
    "Spearman correlation with full training, each training by a schedule of its own": "ranking",
    "Spearman correlation with full training, read off its epochs as in the paper": "ranking-curve",
}
DRAWS = 1000  # bootstrap resamples of a correlation


def rankings(rows: Sequence[Row]) -> str:
    """Spearman correlations with full training, seed by seed, and by how much dynamic ranking is above the others."""
    parts = []
    for title, name in RANKINGS.items():
        every = [row for row in rows if row["name"] == name]
        if not every:
            continue
        count, spent = len(every[0]["networks"]), every[0]["epochs"]
        scores = [_scores(row) for row in every]
        lines, notes = [], []
        for kind in (kind for kind in scores[0] if kind != "full"):
            values = [rank_correlation(of[kind], of["full"]) for of in scores]
            shown = ["" if value is None else f"{value:.2f}" for value in values]
            lines.append([kind, *shown, _cell(_correlation(scores, kind))])
            if kind != "dynamic":
                notes.append(f"dynamic - {kind} {_cell(_correlation(scores, 'dynamic', kind), '+')}")
        header = ["ranked by", *(f"seed {row['seed']}" for row in every), "mean [95 %]"]
        parts.append(
            table(
                title,
                header,
                lines,
                f"{count} random members a seed, {spent['full'] // count} epochs each in full, {spent['full']} in all; "
                f"static takes {spent['static']}, dynamic {spent['dynamic']}. Intervals bootstrapped over each seed's "
                f"members.",
                f"In the mean, {'; '.join(notes)}.",
            )
        )
    return "\n\n".join(parts)


def _scores(row: Row) -> dict[str, list[float]]:
    """What networks are ranked by; with curves also static ranking with the epochs of dynamic ranking, rounded up."""
    networks = row["networks"]
    found = {kind: [network[kind] for network in networks] for kind in ("static", "dynamic", "parameters", "full")}
    if curves := row.get("curves"):
        each = math.ceil(row["epochs"]["dynamic"] / len(networks))
        found[f"static, {each} epochs each"] = [curves[network["arch"]][each - 1] for network in networks]
    return found


def _correlation(scores: Sequence[dict[str, list[float]]], kind: str, less: str | None = None) -> Interval:
    """Mean over the seeds of a Spearman correlation with full training, or of how far it is above another one."""

    def mean(picks: Sequence[NDArray[np.int64]]) -> float:
        found = []
        for of, pick in zip(scores, picks, strict=True):
            full = np.array(of["full"])[pick]
            values = [rank_correlation(np.array(of[name])[pick], full) for name in (kind, less) if name is not None]
            known = [value for value in values if value is not None]
            if len(known) == len(values):  # a seed without variation says nothing
                found.append(known[0] - sum(known[1:]))
        return float(np.mean(found)) if found else math.nan

    counts, generator = [len(of["full"]) for of in scores], np.random.default_rng(0)
    draws = [mean([generator.integers(count, size=count) for count in counts]) for _ in range(DRAWS)]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return mean([np.arange(count) for count in counts]), float(low), float(high)


def _cell(found: Interval, sign: str = "") -> str:
    """``mean [low, high]`` of correlations."""
    mean, low, high = found
    return f"{mean:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"
