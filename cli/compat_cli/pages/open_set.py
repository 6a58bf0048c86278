"""The harder question beside the demo's easy one: identities that no model was trained on, measured elsewhere."""

from __future__ import annotations

from typing import Any

SOURCE = "benchmarks/accuracy/kanji_compatibility.md"
"""Where the figures below were measured; a test compares them."""
QUERIES, GALLERY, IDENTITIES, SEEDS = 4000, 22191, 965, 3
PARAGON = (93.2, 92.5, 93.9)
"""M(g,g) at top-1 in percent, with its 95 % interval."""
MEASURED: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float]], ...] = (
    ("trained alone (vanilla)", (76.5, 74.9, 78.2), (0.1, 0.0, 0.1)),
    ("bct", (85.8, 84.2, 87.1), (74.7, 71.5, 77.1)),
    ("bct-regression", (86.3, 85.2, 87.2), (78.7, 77.5, 79.8)),
    ("regression, mixed images", (87.8, 86.7, 88.8), (85.0, 83.9, 86.1)),
    ("regression, unlabelled", (90.8, 90.0, 91.7), (89.3, 88.4, 90.2)),
)
"""Training method of the query model; M(q,q) and M(q,g), each with its interval."""
REMEDIES = (
    "let the query model learn the gallery model's vectors on more pictures than the labelled ones: "
    "<code>--method regression --mixed</code>, or a folder of pictures without labels",
    "ask with your own pictures before you decide: <code>compat-sdk evaluate --data D --query RUN --gallery RUN "
    "--report report.html</code> says which side of the rule you are on",
    "look at the gallery: with one difficult image of each character in place of 23 clean ones, the rule holds "
    "(<code>benchmarks/accuracy/kanji_hard.md</code>)",
    "where it fails, the search still works; the small model for both sides finds more, at the cost of embedding the "
    "gallery again with every new query model",
)
"""What to do where the rule fails, as HTML."""


def bars() -> list[dict[str, Any]]:
    """M(q,q) and M(q,g) of each method, and M(g,g), for `plots.accuracy`."""
    found = [_bar("large model for both\nM(g,g)", PARAGON, "large")]
    for name, alone, across in MEASURED:
        found.append(_bar(f"{name}\nM(q,g)", across, "het"))
        found.append(_bar("M(q,q)", alone, "small"))
    return found


def _bar(name: str, figures: tuple[float, float, float], colour: str) -> dict[str, Any]:
    value, low, high = (figure / 100 for figure in figures)
    return {"name": name, "value": value, "low": low, "high": high, "colour": colour}
