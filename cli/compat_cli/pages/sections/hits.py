"""Queries with what they find, and what the space check prevents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from compat_cli.pages.sections.results import Results


def nearest(results: Results, pictures: Mapping[str, str]) -> str:
    """A few queries with their hits as HTML; ``pictures`` has a ``data:`` URI for each id."""
    rows = "".join(_hit_row(row, row["hits"], pictures) for row in results["hits"])
    how = (
        "Embedded by the exported small model, found in the gallery that the exported large model wrote; below"
        if "profiles" in results
        else "Embedded by the small model, found among what the large model embedded; below"
    )
    return (
        "<section><h2>Queries and their nearest gallery images</h2>"
        f"<p>The first query of each class, not chosen by hand. {how} each hit its cosine similarity. Green ✓ is the "
        f"query's class, red ✗ another.</p>"
        f'<div class="hits{" tiny" * bool(results["data"].get("tiny"))}">{rows}</div>'
        f"{_prevented(results, pictures)}</section>"
    )


def _prevented(results: Results, pictures: Mapping[str, str]) -> str:
    if "refused" not in results:
        return ""
    strayed = "".join(_hit_row(row, row["unchecked"], pictures) for row in results["hits"][:2])
    return (
        '<h3 style="margin-top:22px">What the space check prevents</h3>'
        "<p>The model that was trained alone is refused, although its vectors have the right dimension. Had its "
        "queries been let through, these would have been the answers:</p>"
        f'<div class="hits{" tiny" * bool(results["data"].get("tiny"))}">{strayed}</div>'
        f"<pre>{escape(results['refused'])}</pre>"
    )


def _hit_row(row: Mapping[str, Any], hits: Sequence[Mapping[str, Any]], pictures: Mapping[str, str]) -> str:
    query = _picture(pictures[row["id"]], row["label"], "query", escape(row["label"]))
    found = "".join(
        _picture(
            pictures[hit["id"]],
            hit["label"],
            "right" if hit["label"] == row["label"] else "wrong",
            f"<i>{'✓' if hit['label'] == row['label'] else '✗'}</i> {hit['score']:.2f}",
        )
        for hit in hits
    )
    return f'<div class="hit">{query}<div class="arrow">→</div>{found}</div>'


def _picture(source: str, label: str, kind: str, caption: str) -> str:
    name = escape(label, quote=True)
    return (
        f'<figure class="{kind}" title="{name}"><img src="{source}" alt="{name}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
