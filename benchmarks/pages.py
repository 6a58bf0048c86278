"""What the pages are made of: hits as bits, cells with intervals, tables, and a page below its mark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.metrics import paired_difference
from compat_sdk.metrics.scores import bootstrap_mean

DRAWS = 1000  # bootstrap resamples of an interval
Hits = NDArray[np.float64]
Interval = tuple[float, float, float]


def packed(hits: NDArray[np.bool_]) -> str:
    """Hits as base64 bits."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def unpacked(text: str, count: int) -> Hits:
    """So many hits, 0 or 1, from base64 bits."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:count].astype(np.float64)


def cell(found: Interval, sign: str = "") -> str:
    """``mean [low, high]`` of fractions, in percent."""
    mean, low, high = (100 * value for value in found)
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def mean_cell(hits: Hits) -> str:
    """Mean of ``[queries]`` or ``[runs, queries]`` with its 95 % interval, in percent."""
    return cell(bootstrap_mean(hits, DRAWS))


def difference_cell(hits: Hits, others: Hits) -> str:
    """Mean of the paired difference of as many hits with its 95 % interval, in points and signed."""
    return cell(paired_difference(hits, others, DRAWS), "+")


def table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], *notes: str) -> str:
    """A Markdown table under its title with notes below it; empty without lines."""
    if not lines:
        return ""
    rows = [f"| {' | '.join(line)} |" for line in (header, *lines)]
    rows.insert(1, "|---" * len(header) + "|")
    return "\n".join([f"### {title}", "", *rows, *(line for note in notes if note for line in ("", note))])


def write_page(page: Path, script: str, parts: Sequence[str]) -> None:
    """Writes the parts that are not empty below the mark of a page, and prints them.

    What is above the mark stays, and so does what is below the other mark, if there is one: method and history come
    after the tables.
    """
    mark, end = f"<!-- below this line: written by {script} -->", f"<!-- above this line: written by {script} -->"
    text = "\n\n".join(part for part in parts if part)
    above, _, old = (page.read_text("utf-8") if page.is_file() else "").partition(mark)
    _, ended, below = old.partition(end)
    page.write_text(f"{above}{mark}\n\n{text}\n" + (f"\n{end}{below}" if ended else ""), "utf-8")
    print(text)
