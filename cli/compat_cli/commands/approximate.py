"""`compat-sdk index approximate`, and the options of other commands that build an approximate index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands.gallery_facts import say
from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value

Kind = Annotated[
    str | None,
    typer.Option(
        "--index", help="Also build this one: usearch, hnswlib, faiss-hnsw or faiss-ivfpq.", show_default=False
    ),
]
Recall = Annotated[
    float | None,
    typer.Option(
        "--recall", help="What it finds of the 10 nearest: chooses its settings by measurement.", show_default=False
    ),
]


def approximate(
    path: Annotated[Path, typer.Argument(metavar="GALLERY", help="Gallery folder.")],
    index: Annotated[str, typer.Option("--index", help="usearch, hnswlib, faiss-hnsw or faiss-ivfpq.")] = "usearch",
    recall: Recall = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="One of its settings instead, such as connectivity=32.", show_default=False),
    ] = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Build the approximate index of a gallery as it is, so that a search need not compare with every row."""
    from compat_sdk.gallery import Gallery

    _require_library(index)
    told = dict(map(_setting, setting or []))
    if threads is not None:
        told["threads"] = threads
    gallery = Gallery.open(path)
    with console.working():
        gallery.build_index(index, recall=recall, **told)
    say(gallery, as_json)


def _setting(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not name.isidentifier() or not value.isdecimal() or not value.isascii():
        raise ConfigError(f"found --set {shown_value(text)}, expected a setting and a number, such as connectivity=32")
    return name, int(value)


def chosen(ann: bool | None, index: str | None, recall: float | None) -> str | None:
    """Which approximate index is to be built beside a gallery; None for none. A recall alone asks for the default.

    Raises:
        ConfigError: There is no such index, or no such recall, or the exact scan alone is asked for as well.
        MissingExtraError: Its library is not installed.
    """
    if index is None and recall is None:
        return "usearch" if ann else None
    if ann is False:
        raise ConfigError(f"found --exact beside {'--recall' if index is None else '--index'}; give one of them")
    kind = index or "usearch"
    _require_library(kind)
    if recall is not None:
        from compat_sdk.index.measured import check_recall

        check_recall(recall)
    return kind


def _require_library(kind: str) -> None:
    from compat_sdk.index.options import check_kind

    extras.require(check_kind(kind).partition("-")[0])
