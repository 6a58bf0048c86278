"""`compat-sdk search`: images in, the nearest gallery images out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, options, pictures
from compat_sdk.errors import ConfigError, ImageError
from compat_sdk.files.documents import check_plain

if TYPE_CHECKING:
    from compat_sdk.gallery import Hit, Where
    from compat_sdk.gallery.where import Scalar


def search(
    gallery: Annotated[
        Path,
        typer.Argument(metavar="GALLERY", help="Gallery folder, qdrant://HOST:PORT/COLLECTION, or a list PARTS.parts."),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders of images.")],
    model: Annotated[Path, typer.Option("--model", help="Query model: a BUNDLE or a RUN.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits per image.")] = 10,
    index: Annotated[
        str, typer.Option("--index", help="auto, exact, exact-faiss, exact-faiss-gpu, or the kind of its index.")
    ] = "auto",
    require_certificate: Annotated[
        bool,
        typer.Option("--require-certificate", help="Exit code 3 unless an evaluation showed that MODEL may search it."),
    ] = False,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="Find images of this label alone; of several, give it again.")
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--where", help="Find images alone beside which FIELD=VALUE is kept.", metavar="FIELD=VALUE"),
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="Space of a collection that names none.", show_default=False)
    ] = None,
    engine: options.Engine = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """The k most similar gallery images of each image, best first; refused across undeclared spaces.

    Of several images, one that cannot be read is named and left out.
    """
    from compat_sdk.certificate import doubt, require_certified
    from compat_sdk.gallery import Gallery
    from compat_sdk.shown import escaped

    wanted, where = options.trusted(public_key, trust), _where(labels, conditions)
    queries, beside = pictures.expand(images)
    for line in beside:
        console.note(f"warning: {line}")
    unreadable: list[ImageError] = []
    signed = wanted is not None and (wanted.galleries or Gallery.is_signed(gallery))
    with console.working():
        stored = Gallery.open(gallery, trust=wanted if signed else None, space=space)
        embedder = pictures.open_model(model, threads=threads, device=device, engine=engine, trust=wanted)
        if require_certificate:
            require_certified(embedder.space, embedder.certificates, stored.space)
        found: list[list[Hit]] = []
        read: list[Path] = []
        for part, embeddings, errors in pictures.embed_in_chunks(
            embedder, pictures.of_files(queries), skip_unreadable=len(queries) > 1
        ):
            unreadable += errors
            if len(part):
                found += stored.search(embeddings, k, index=index, where=where)
                read += part.images
    for error in unreadable:
        console.note(f"warning: left out: {error}")
    if not read:
        raise unreadable[0]
    doubtful = doubt(embedder.space, embedder.certificates, stored.space)
    if doubtful is not None:
        console.note(f"note: {doubtful}")
    payload = {
        "hits": [[{"id": hit.id, "label": hit.label, "score": float(hit.score)} for hit in hits] for hits in found],
        "queries": [str(path) for path in read],
        "unreadable": [str(path) for path in queries if path not in set(read)],
        "certified": doubtful is None,
    }
    blocks = []
    for path, hits in zip(read, found, strict=True):
        lines = [
            f"  {rank:>3}  {hit.score:.4f}  {escaped(hit.label)}  {escaped(hit.id)}"
            for rank, hit in enumerate(hits, start=1)
        ]
        blocks.append("\n".join([escaped(str(path)), *lines]))
    console.report(payload, "\n".join(blocks), as_json=as_json)


def _where(labels: list[str] | None, conditions: list[str] | None) -> Where | None:
    """The conditions of the command line; a value is a number, true or false where JSON says so, else a text."""
    from compat_sdk.gallery import Where

    if not labels and not conditions:
        return None
    fields: dict[str, list[Scalar]] = {}
    for condition in conditions or ():
        name, equals, text = condition.partition("=")
        if not name or not equals:
            raise ConfigError(f"--where is {condition!r}; expected FIELD=VALUE, such as colour=red")
        fields.setdefault(name, []).append(_value(text))
    return Where(labels=labels or None, payload=fields)


def _value(text: str) -> Scalar:
    try:
        value = json.loads(text)
        check_plain(value)
    except (ValueError, RecursionError):  # NaN and 1e400 too are no numbers of JSON's
        return text
    return value if isinstance(value, str | int | float) else text
