"""What a path is - a RUN, a bundle, a gallery, a search, a dataset - for whoever was given another kind than wanted."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Literal

Kind = Literal["RUN", "unfinished RUN", "bundle", "gallery", "list of parts", "search", "dataset"]
Wanted = Literal["RUN", "bundle", "gallery", "dataset"]

# A file or folder that only one kind has; the first that is there decides.
_TELLS: tuple[tuple[str, Kind], ...] = (
    ("manifest.json", "bundle"),
    ("gallery.json", "gallery"),
    ("model.json", "RUN"),
    ("candidates.jsonl", "search"),
    ("scores.jsonl", "search"),
    ("state", "unfinished RUN"),
    ("compat-data.csv", "dataset"),
    ("train", "dataset"),
    ("query", "dataset"),
)

PARTS_SUFFIX = ".parts"
"""Ends the name of a list of parts, see `compat_sdk.gallery.part_list`."""

_ADDRESS = re.compile(r"qdrants?:/|qdrant\+path:")


def is_address(place: str | os.PathLike[str]) -> bool:
    """Whether a text is the address of a store, see `compat_sdk.stores.addresses`, and not the path of anything."""
    return _ADDRESS.match(os.fspath(place)) is not None


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
    """What a path is, by the names in it alone; None where they tell nothing."""
    place = Path(path)
    try:
        if place.is_dir():
            return next((kind for name, kind in _TELLS if (place / name).exists()), None)
        if not place.is_file():
            return None
        if place.suffix == PARTS_SUFFIX:
            return "list of parts"
        with place.open("rb") as file:
            return "bundle" if file.read(4) == b"PK\3\4" else None
    except OSError:
        return None


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a path is to be opened as a bundle: a folder with a manifest, or a file, which can only be a zip."""
    return Path(path).is_file() or kind_of(path) == "bundle"


def instead_of(wanted: Wanted, path: str | os.PathLike[str]) -> str | None:
    """The sentence for a path of another kind than wanted: what it is, and the command that makes what is wanted.

    Returns:
        None where the path is of that kind, or tells of none.
    """
    kind = kind_of(path)
    if kind is None or kind == wanted:
        return None
    name = os.fspath(path)
    typed = shlex.quote(name)
    if kind == "unfinished RUN":
        return f"{name} is a RUN whose training has not finished; run the same train command again to resume it"
    if kind == "search":
        return f"{name} is the folder of a search; the networks that it found are RUNs inside it, in tiers/ or network/"
    if kind == "list of parts":
        expected = "one gallery: give each part in turn" if wanted == "gallery" else f"a {wanted}"
        return f"{name} lists the parts of a gallery; expected {expected}"
    if wanted == "bundle" and kind == "RUN":
        return f"{name} is a RUN: export it first: compat-sdk export {typed} --target onnx --out {typed}.bundle"
    if wanted == "RUN" and kind == "bundle":
        return f"{name} is a bundle, which `compat-sdk export` made of a RUN; expected that RUN"
    if wanted == "gallery" and kind in ("RUN", "bundle"):
        return (
            f"{name} is a {kind}, a model; expected a gallery: compat-sdk index build --model {typed} --images PHOTOS "
            f"--out {typed}.gallery"
        )
    article = {"RUN": "a RUN", "bundle": "a bundle", "gallery": "a gallery", "dataset": "a dataset"}
    what = {"gallery": "it holds stored vectors", "dataset": "it holds pictures"}.get(kind, "it holds a model")
    return f"{name} is {article[kind]}: {what}; expected {article[wanted]}"
