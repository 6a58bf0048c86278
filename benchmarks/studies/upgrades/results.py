"""The rows of one dataset: accuracies, differences and lines of tables by the names of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.pages import Hits, difference_cell, mean_cell, unpacked
from benchmarks.rows import Row

PAIR = "| {} | top-1 | mAP |\n|---|---|---|"


class Results:
    """The rows of one dataset, seeds in order."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Keeps the rows as they are."""
        self._rows = sorted(rows, key=lambda row: row["seed"])

    def of(self, name: str) -> list[Row]:
        """Rows of one name, one per seed."""
        return [row for row in self._rows if row["name"] == name]

    def hits(self, name: str, pair: str, seeds: Sequence[int] | None = None) -> Hits:
        """Hits at rank 1, float64 ``[seeds, queries]``."""
        return np.stack([hits_of(row[pair]) for row in self.of(name) if seeds is None or row["seed"] in seeds])

    def seeds(self, *names: str) -> list[int]:
        """Seeds that have all of these rows."""
        found = [{row["seed"] for row in self.of(name)} for name in names]
        return sorted(set.intersection(*found)) if found else []

    def difference(self, first: tuple[str, str], second: tuple[str, str]) -> str:
        """Top-1 of one row and pair minus that of another, on the seeds that have both; "" without any."""
        seeds = self.seeds(first[0], second[0])
        if not seeds:
            return ""
        return difference_cell(self.hits(*first, seeds), self.hits(*second, seeds))

    def map_differences(self, first: tuple[str, str], second: tuple[str, str]) -> str:
        """The difference in mAP, points, of each seed that has both."""
        seeds = self.seeds(first[0], second[0])
        ours, theirs = (
            [row[pair]["map"] for row in self.of(name) if row["seed"] in seeds] for name, pair in (first, second)
        )
        return ", ".join(f"{100 * (one - other):+.1f}" for one, other in zip(ours, theirs, strict=True))

    def mean(self, name: str, *keys: str, seeds: Sequence[int] | None = None) -> float:
        """Mean over the seeds, or some of them, of a figure."""
        found = []
        for row in self.of(name):
            if seeds is not None and row["seed"] not in seeds:
                continue
            value: Any = row
            for key in keys:
                value = value[key]
            found.append(value)
        return float(np.mean(found))

    def few(self, name: str) -> str:
        """Says which seeds a row has, where they are not all."""
        seeds = self.seeds(name)
        all_there = len(seeds) == len(self.seeds("models"))
        return "" if all_there else f" (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"

    def line(self, label: str, name: str, pair: str) -> str:
        """One row of a table of pairs; "" where nothing was measured."""
        if not self.of(name):
            return ""
        label += self.few(name)
        return f"| {label} | {mean_cell(self.hits(name, pair))} | {100 * self.mean(name, pair, 'map'):.1f} |"


def hits_of(score: Row) -> Hits:
    """Hits at rank 1 of a score, float64 ``[queries]``."""
    return unpacked(score["hits"], score["queries"])


def titled(title: str, header: str, lines: Sequence[str], note: str = "") -> str:
    """A Markdown table of the lines that are not empty, under its title; empty without any."""
    kept = [line for line in lines if line]
    return "\n".join([f"### {title}", "", header, *kept, *(["", note] if note else [])]) if kept else ""
