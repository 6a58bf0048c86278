"""Which vectors may search which gallery."""

from __future__ import annotations

from typing import Any

from tests.conformance.place import Place

_OWN, _BIG, _OTHER = "tiny-8-0123456789abcdef", "big-8-fedcba9876543210", "other-8-0123456789abcdef"


def write(place: Place) -> None:
    """Write spaces.json."""
    cases: list[dict[str, Any]] = [
        {"name": "own", "space": _OWN, "searches": [], "gallery_space": _OWN},
        {"name": "declared", "space": _OWN, "searches": [_BIG], "gallery_space": _BIG},
        {"name": "declared-second", "space": _OWN, "searches": [_OTHER, _BIG], "gallery_space": _BIG},
        {"name": "own-beside-declared", "space": _OWN, "searches": [_BIG], "gallery_space": _OWN},
        {"name": "old-names", "space": "q", "searches": ["old-8-aaaaaaaaaaaa"], "gallery_space": "old-8-aaaaaaaaaaaa"},
        {"name": "undeclared", "space": _OWN, "searches": [], "gallery_space": _BIG},
        {"name": "undeclared-beside-declared", "space": _OWN, "searches": [_BIG], "gallery_space": _OTHER},
        {"name": "not-the-other-way-round", "space": _BIG, "searches": [], "gallery_space": _OWN},
        {"name": "another-case", "space": _OWN, "searches": [_BIG.upper()], "gallery_space": _BIG},
        {"name": "the-beginning", "space": _OWN, "searches": [_BIG[:-1]], "gallery_space": _BIG},
        {"name": "malformed-space", "space": "tiny 8", "searches": [], "gallery_space": _OWN},
        {"name": "malformed-searches", "space": _OWN, "searches": ["a/b"], "gallery_space": _OWN},
        {"name": "empty-space", "space": "", "searches": [], "gallery_space": _OWN},
        {"name": "long-space", "space": "x" * 121, "searches": [], "gallery_space": _OWN},
        {"name": "line-end", "space": _OWN + "\n", "searches": [], "gallery_space": _OWN},
    ]
    refused = {name: "IncompatibleSpaceError" for name in ("undeclared", "undeclared-beside-declared", "another-case")}
    refused |= {name: "IncompatibleSpaceError" for name in ("not-the-other-way-round", "the-beginning")}
    malformed = ("malformed-space", "malformed-searches", "empty-space", "long-space", "line-end")
    refused |= dict.fromkeys(malformed, "ConfigError")
    for case in cases:
        if case["name"] in refused:
            case["error"] = refused[case["name"]]
    place.cases("spaces", cases)
