"""What the commands of galleries print at the end: the facts of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from compat_cli import console

if TYPE_CHECKING:
    from compat_sdk.gallery import Gallery


def say(gallery: Gallery, as_json: bool) -> None:
    """Print what `Gallery.info` says, as lines or as JSON."""
    facts = gallery.info()
    console.report(facts, console.lines(_lines(facts)), as_json=as_json)


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """What `Gallery.info` says, for people."""
    index, model = facts["index"], facts["model"]
    covers = "a digest of everything that decides a vector"
    if facts["space_covers"] != "all":
        covers = "a chosen name, or a digest of the weights only"
    shown = {
        "path": facts["path"],
        "space": f"{facts['space']} ({covers})",
        "rows": f"{facts['rows']:,} images of {facts['labels']:,} labels",
        "vectors": f"{facts['dim']} numbers of {facts['dtype']}, {console.size_text(facts['bytes'])} in "
        f"{facts['segments']} segments",
        "generation": f"{facts['generation']} (counts its changes)",
        "model": " from ".join(str(model[key]) for key in ("name", "path") if key in model) or "not noted",
        "search": facts["search"],
        "index": "none, so that a search compares with every row",
        "signed": "yes" if facts["signed"] else "no",
    }
    if index is not None:
        options = "".join(f", {key} {value}" for key, value in index.items() if key not in ("kind", "fresh", "bytes"))
        state = "fresh" if index["fresh"] else "older than the rows, so that it is not used"
        foreign = ", not built here, so that it is not read" if facts["foreign_index"] else ""
        shown["index"] = f"{index['kind']}, {console.size_text(index['bytes'])}, {state}{options}{foreign}"
    if facts["signed_by"] is not None:
        shown["signed"] = f"by {facts['signed_by']}"
    return (f"{key}: {value}" for key, value in shown.items())
