"""`compat-sdk index`: build and keep a gallery of stored embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from compat_cli import console, extras, options, pictures
from compat_cli.commands import approximate
from compat_cli.commands.gallery_facts import say
from compat_cli.filling import fill
from compat_cli.groups import Group
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.kinds import is_address
from compat_sdk.shown import as_unicode
from compat_sdk.spelling import known_spellings

if TYPE_CHECKING:
    from compat_sdk.gallery import Gallery
    from compat_sdk.gallery.files import Dtype

app = typer.Typer(help="Build and keep a gallery.", no_args_is_help=True, rich_markup_mode=None, cls=Group)
app.command("approximate")(approximate.approximate)
_Gallery = Annotated[Path, typer.Argument(metavar="GALLERY", help="Gallery folder.")]
_Model = Annotated[Path, typer.Option("--model", help="Gallery model: a BUNDLE or a RUN.")]
_Images = Annotated[
    Path | None,
    typer.Option("--images", help="A folder, .txt list or .tar file of images.", show_default=False),
]
_Split = Annotated[str, typer.Option("--split", help="Which split of DATA.")]
_Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Name images that cannot be read and go on.")]
_Ann = Annotated[
    bool | None,
    typer.Option("--ann/--exact", help="Also build the approximate index: usearch.", show_default=False),
]


@app.command("build")
def build(
    model: _Model,
    out: Annotated[Path, typer.Option("--out", help="Gallery folder to write.")],
    data: options.OptionalData = None,
    images: _Images = None,
    split: _Split = "gallery",
    ann: _Ann = None,
    index: approximate.Kind = None,
    recall: approximate.Recall = None,
    skip_unreadable: _Skip = False,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Numbers on disk: float16, int8, or float32 if not given.")
    ] = None,
    root: options.Root = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Embed images into a gallery. Run again after an interruption, it embeds only what is missing."""
    from compat_sdk.gallery import Gallery
    from compat_sdk.gallery.store import is_new_folder
    from compat_sdk.outputs import require_own
    from compat_sdk.upgrade.manifest import WITH_UPGRADE

    require_own(out, WITH_UPGRADE, "index build")
    kind = approximate.chosen(ann, index, recall)
    makers = options.trusted(public_key, trust)
    wanted = pictures.chosen(data, images, root, split)
    with console.working():
        embedder = pictures.open_model(model, threads=threads, device=device, trust=makers)
    if not is_new_folder(out):
        gallery = Gallery.open(out)
        wanted = wanted.spelled_as(gallery.ids)
        others = set(gallery.ids) - set(wanted.ids)
        if others:
            raise ConfigError(
                f"{out} already holds {len(others)} other images, such as {min(others)}; expected a new folder "
                f"or the rest of an interrupted build. To add images use `compat-sdk index add {out}`"
            )
        held = gallery.info()["dtype"]
        if dtype not in (None, held):
            raise ConfigError(f"--dtype is {dtype}, but {out} holds {held}; leave it out, or choose a new folder")
    else:
        gallery = Gallery.create(
            out,
            space=embedder.space,
            dim=embedder.dim,
            model={"name": embedder.name, "path": as_unicode(str(model))},
            dtype=cast("Dtype", dtype or "float32"),
        )
    _fill_and_say(gallery, embedder, wanted, kind, recall, skip_unreadable, as_json, replace=True)


@app.command("add")
def add(
    path: _Gallery,
    model: _Model,
    data: options.OptionalData = None,
    images: _Images = None,
    split: _Split = "gallery",
    ann: _Ann = None,
    index: approximate.Kind = None,
    recall: approximate.Recall = None,
    skip_unreadable: _Skip = False,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Begin the ids with this, such as ben/, where two folders share names.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Embed pictures again whose file is not the one the gallery holds.")
    ] = False,
    root: options.Root = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Embed more images into a gallery; those that it already holds are left alone."""
    from compat_sdk.gallery import Gallery

    kind = approximate.chosen(ann, index, recall)
    makers = options.trusted(public_key, trust)
    gallery = Gallery.open(path)
    wanted = pictures.chosen(data, images, root, split).renamed(prefix).spelled_as(gallery.ids)
    with console.working():
        embedder = pictures.open_model(model, threads=threads, device=device, trust=makers)
    _fill_and_say(gallery, embedder, wanted, kind, recall, skip_unreadable, as_json, replace=replace)


def _fill_and_say(
    gallery: Gallery,
    model: pictures.Model,
    wanted: pictures.Pictures,
    kind: str | None,
    recall: float | None,
    skip_unreadable: bool,
    as_json: bool,
    *,
    replace: bool,
) -> None:
    with console.working() as progress:
        added = fill(gallery, model, wanted, progress, skip_unreadable=skip_unreadable, replace=replace)
        if kind is not None:
            gallery.build_index(kind, recall=recall)
    console.note(f"{added} of {len(wanted)} images added")
    say(gallery, as_json)


@app.command("remove")
def remove(
    path: _Gallery,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids to remove.")],
    compact: Annotated[bool, typer.Option("--compact", help="Also give back the space on disk.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove images by id."""
    from compat_sdk.gallery import Gallery

    gallery = Gallery.open(path)
    named = dict.fromkeys(known_spellings(ids, gallery.ids))
    if missing := [id for id in named if id not in set(gallery.ids)]:
        console.note(f"warning: {len(missing)} of {len(named)} ids are not in the gallery, such as {missing[0]}")
    removed = gallery.remove(named)
    if compact:
        gallery.compact()
    console.report(
        {"removed": removed, "rows": len(gallery)}, f"removed {removed}; {len(gallery)} images remain", as_json=as_json
    )


@app.command("compact")
def compact(path: _Gallery, as_json: options.Json = False) -> None:
    """Merge all files of vectors into one, and give back the space of removed images."""
    from compat_sdk.gallery import Gallery

    if is_address(path):
        Gallery.open(path).compact()  # which says why not
    Gallery.compact_folder(path)
    say(Gallery.open(path), as_json)


@app.command("info")
def info(path: _Gallery, as_json: options.Json = False) -> None:
    """Space, size, labels and the state of the index."""
    from compat_sdk.gallery import Gallery

    say(Gallery.open(path), as_json)


@app.command("sign")
def sign(
    path: _Gallery,
    key: Annotated[Path, typer.Option("--key", help="PEM file of the private key.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the gallery; that of its last signature, or the folder's.", show_default=False),
    ] = None,
    release: Annotated[
        int | None,
        typer.Option("--release", min=1, help="Counts its versions; one more than the last.", show_default=False),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Last day of its use, such as 2027-12-31.", show_default=False)
    ] = None,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Take a release below that of the last signature.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Check every file and sign the gallery as it is; a later change deletes the signature.

    A key pair is made as `compat-sdk bundle sign --help` says.
    """
    from compat_sdk.gallery import Gallery

    extras.require("sign")
    with console.working():
        gallery = Gallery.open(path)
        made = gallery.sign(key, name=name, release=release, expires=expires, allow_older=allow_older)
    signed = {"name": made.name, "release": made.release, "expires": made.expires}
    payload = {"gallery": str(path), "rows": len(gallery), "key": str(key), **signed}
    line = f"{path}: {len(gallery)} rows signed as release {made.release} of {made.name}"
    console.report(payload, console.lines([line]), as_json=as_json)


@app.command("verify")
def verify(
    path: _Gallery,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Check the signature if one is asked for, every digest and every vector. Exit code 3 if something is wrong."""
    from compat_sdk.gallery import Gallery

    makers = options.trusted(public_key, trust)
    with console.working():
        gallery = Gallery.open(path, verify=makers is not None, trust=makers)
        problems = [str(problem) for problem in gallery.verify()]
    facts = gallery.info()
    signer = facts["signed_by"]
    line = f"{path}: no problems" + ("" if signer is None else f", signed by {signer}")
    payload = {"gallery": str(path), "problems": problems, "signed_by": signer}
    console.report(payload, console.lines(problems or [line]), as_json=as_json)
    if facts["foreign_index"]:
        console.note(f"the index was not built here and is not read; `compat-sdk index repair {path}` builds it again")
    if problems:
        raise CheckFailedError(
            f"{len(problems)} problem(s) in {path}; `compat-sdk index repair {path}` rebuilds indexes"
        )


@app.command("repair")
def repair(path: _Gallery, as_json: options.Json = False) -> None:
    """Rebuild the index from the stored vectors."""
    from compat_sdk.gallery import Gallery

    gallery = Gallery.open(path, verify=False)
    with console.working():
        done = gallery.repair()
    for line in done:
        console.note(line)
    say(gallery, as_json)
