"""`compat-sdk gallery`: vectors from the stores of others into a gallery, and out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from compat_cli import console, options
from compat_cli.groups import Group
from compat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from compat_sdk.exchange.checked import Lengths
    from compat_sdk.gallery.files import Dtype

app = typer.Typer(help="Vectors in and out of a gallery.", no_args_is_help=True, rich_markup_mode=None, cls=Group)
_Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A .parquet, .arrow, .npz, .npy, .faiss or .hnswlib file (or faiss:FILE), a gallery folder, or "
        "qdrant://HOST:PORT/COLLECTION.",
    ),
]
_Space = Annotated[
    str | None,
    typer.Option("--space", help="Space of the vectors, where the store does not name it.", show_default=False),
]
_Ids = Annotated[
    Path | None,
    typer.Option("--ids", help="Ids of .npy, faiss or hnswlib rows: .npy, or .txt by lines.", show_default=False),
]


@app.command("import")
def import_(
    source: _Source,
    out: Annotated[Path, typer.Option("--out", help="Gallery folder to write.")],
    space: _Space = None,
    lengths: Annotated[
        str,
        typer.Option("--lengths", help="Vectors not of length 1: refuse, drop the length, or keep it beside the row."),
    ] = "refuse",
    dtype: Annotated[str, typer.Option("--dtype", help="Numbers on disk: float32, float16 or int8.")] = "float32",
    id_column: Annotated[str | None, typer.Option("--id-column", help="Column of ids.", show_default=False)] = None,
    vector_column: Annotated[
        str | None, typer.Option("--vector-column", help="Column of vectors.", show_default=False)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="Column, or field of Qdrant, of labels.", show_default=False)
    ] = None,
    payload: Annotated[
        list[str] | None,
        typer.Option("--payload", help="Column to keep beside each row; every other one if not given."),
    ] = None,
    no_payload: Annotated[bool, typer.Option("--no-payload", help="Keep no other column.")] = False,
    ids: _Ids = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels of .npy rows: .npy, or .txt by lines.", show_default=False)
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="Digest that the file must have.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a gallery of stored vectors: a table, an index file of faiss or hnswlib, or a Qdrant collection.

    Each row keeps its id, its label and what is kept beside it. Nothing is left of an import that fails.
    """
    from compat_sdk.exchange import Reading, import_gallery
    from compat_sdk.stores import Columns

    if payload and no_payload:
        raise ConfigError("--payload names columns to keep and --no-payload keeps none; give one of them")
    kept = () if no_payload else tuple(payload) if payload else None
    reading = Reading(Columns(id_column, vector_column, label_column, kept), ids, labels, sha256)
    with console.working() as progress:
        gallery = import_gallery(
            source,
            out,
            space=space,
            reading=reading,
            lengths=cast("Lengths", lengths),
            dtype=cast("Dtype", dtype),
            progress=progress,
        )
    facts = gallery.info()
    line = f"{out}: {len(gallery)} rows of {gallery.dim} numbers in space {gallery.space}, from {_from(facts)}"
    console.report(facts, console.lines([line]), as_json=as_json)


@app.command("export")
def export(
    gallery: Annotated[
        str, typer.Argument(metavar="GALLERY", help="Gallery folder, or qdrant://HOST:PORT/COLLECTION.")
    ],
    to: Annotated[
        str,
        typer.Option("--to", help="A new .parquet, .npz, .faiss or .hnswlib file, or qdrant://HOST:PORT/COLLECTION."),
    ],
    space: _Space = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", help="New .npy file for ids that faiss or hnswlib cannot hold.", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write the rows of a gallery into a new file or a new collection of Qdrant.

    What such a place cannot hold is named. Nothing is left of an export that fails.
    """
    from compat_sdk.exchange import export_gallery

    with console.working() as progress:
        done = export_gallery(gallery, to, space=space, ids=ids, progress=progress)
    if done.left_out:
        console.note(f"note: {done.to} holds no {' and no '.join(done.left_out)}; a .parquet file holds all")
    digest = "" if done.sha256 is None else f", SHA-256 {done.sha256}"
    line = f"{done.to}: {done.rows} rows in space {done.space}{digest}"
    console.report(asdict(done), console.lines([line]), as_json=as_json)


@app.command("info")
def info(source: _Source, ids: _Ids = None, as_json: options.Json = False) -> None:
    """How many vectors a file, gallery or collection holds, of what dimension, and in which space if it says."""
    from compat_sdk.exchange import Reading, open_source

    with console.working(), open_source(source, Reading(ids=ids)) as found:
        facts = {
            "source": found.what,
            "rows": found.rows,
            "dim": found.dim,
            "space": found.space,
            "distance": found.distance,
            "ids": found.id_type,
        }
    console.report(facts, console.lines(_lines(facts)), as_json=as_json)


@app.command("name")
def name(
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="qdrant://HOST:PORT/COLLECTION, which names no space yet.")
    ],
    space: Annotated[str, typer.Option("--space", help="Space of its vectors.")],
    as_json: options.Json = False,
) -> None:
    """Note in a collection's metadata in which space its vectors are, so that it may be searched and upgraded."""
    from compat_sdk.space import check_space, require_space
    from compat_sdk.stores.addresses import parse_address
    from compat_sdk.stores.qdrant import Collection

    check_space(space)
    found = Collection.connect(parse_address(collection))
    try:
        shape = found.shape()
        if shape.unfinished:
            raise ConfigError(f"an export into {found.address} did not end; run it again")
        if shape.space is not None:
            require_space(str(found.address), shape.space, space)
        spaces = {**shape.note.get("spaces", {}), shape.vector: space}
        found.write_note({**shape.note, "spaces": spaces})
    finally:
        found.close()
    facts = {"collection": str(found.address), "space": space}
    console.report(facts, console.lines([f"{found.address}: space {space}"]), as_json=as_json)


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"source: {facts['source']}"
    yield f"rows: {facts['rows']:,} of {facts['dim']} numbers, ids are {facts['ids']}s"
    yield f"space: {facts['space'] or 'not named: --space tells it to whoever reads it'}"
    yield f"distance: {facts['distance'] or 'not named'}"


def _from(facts: Mapping[str, Any]) -> str:
    return str(facts["model"]["imported"]["from"])
