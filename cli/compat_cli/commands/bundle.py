"""`compat-sdk bundle`: what a bundle holds, whether it is intact and whose it is, and its two forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compat_cli import console, options
from compat_cli.extras import require
from compat_cli.groups import Group
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_sdk.bundle import Graph, Manifest, Trust

app = typer.Typer(
    help="Look into an exported bundle, pack it, sign it.", no_args_is_help=True, rich_markup_mode=None, cls=Group
)
_Path = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder or zip file.")]
_COVERS = {
    "all": "a digest of everything that decides a vector",
    "weights": "an old space: it covers the weights only",
}
_IN_JSON_ONLY = ("source", "space_covers", "identity", "certificates")
_WEAKER = (
    "as in a bundle of 0.7 or before; its test of prepared pixels sees neither decoding nor fit: export the model again"
)


@app.command("info")
def info(
    path: _Path,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """The manifest: space, cost, preprocessing, files. Every file's digest is checked on the way."""
    from compat_sdk.bundle import Bundle
    from compat_sdk.bundle.names import CARD
    from compat_sdk.transform_identity import TransformIdentity

    makers = options.trusted(public_key, trust)
    with console.working():  # the signing library prints its warnings on stdout
        bundle = Bundle.open(path, trust=makers, allow_expired=True)
    manifest = bundle.manifest
    graphs = [_graph_facts(manifest, graph) for graph in manifest.graphs]
    facts = {
        "name": manifest.name,
        "role": manifest.role,
        "arch": manifest.arch,
        "space": manifest.space,
        "searches": list(manifest.searches),
        "dim": manifest.dim,
        "tier": manifest.tier,
        "mmacs": manifest.mmacs,
        "mmacs_paper": manifest.mmacs_paper,
        "params_m": manifest.params_m,
        "license": manifest.license,
        "created_by": manifest.created_by,
        "preprocessing": None if manifest.preprocessing is None else manifest.preprocessing.to_json(),
        "source": None if manifest.source is None else asdict(manifest.source),
        "graphs": graphs,
        "files": {name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in manifest.files.items()},
        "golden_pictures": len(bundle.golden_pictures()),
        "card": CARD if CARD in manifest.files else None,
        "form": bundle.form,
        "signed": bundle.signed,
        "space_covers": _covers(manifest.space),
        "identity": None if manifest.identity is None else manifest.identity.to_json(),
        "certificates": [shown.to_json() for shown in manifest.certificates],
        "signed_by": bundle.signed_by,
        "release": manifest.release,
        "expires": manifest.expires,
    }
    total = sum(record.bytes for record in manifest.files.values())
    shown = {key: value if value is None else escaped(str(value)) for key, value in facts.items()}
    shown |= {"space": f"{manifest.space} ({_COVERS[_covers(manifest.space)]})"}
    shown["searches"] = _searches_text(manifest)
    shown |= _cost_texts(manifest)
    if (source := manifest.source) is not None:
        side = "" if source.side_space is None else f" with {source.side_space} ({source.side_dim} numbers) beside it"
        old = f"{source.old_space} ({source.old_dim} numbers){side}"
        shown["transforms"] = f"{old} -> {manifest.space} ({manifest.dim} numbers)"
        shown["transform"] = "unnamed, as in a bundle of 0.7 or before: no digest covers what decides its vectors"
        if isinstance(manifest.identity, TransformIdentity):
            shown["transform"] = f"{manifest.identity.name} ({_COVERS['all']})"
        del shown["searches"]  # it makes gallery vectors, which are searched
    shown["graphs"] = "".join(
        f"\n  {found['target']} {found['precision']}: {found['file']}, {console.size_text(found['bytes'])}"
        f"\n    {escaped(_ports_text(manifest, graph))}"
        for graph, found in zip(manifest.graphs, graphs, strict=True)
    )
    if manifest.preprocessing is not None:
        shown["preprocessing"] = ", ".join(f"{key} {value}" for key, value in manifest.preprocessing.to_json().items())
    shown = {key: value for key, value in shown.items() if value is not None and key not in _IN_JSON_ONLY}
    shown["files"] = f"{len(manifest.files)} files, {console.size_text(total)}, digests match"
    if manifest.preprocessing is None:
        del shown["golden_pictures"]
    elif not facts["golden_pictures"]:
        shown["golden_pictures"] = f"none: {_WEAKER}"
    if bundle.signed_by is None:
        shown["signed"] = "yes, to be checked with --public-key or --trust" if bundle.signed else "no"
    console.report(
        facts, "\n".join(f"{key}: {value}".replace(": \n", ":\n") for key, value in shown.items()), as_json=as_json
    )


@app.command("verify")
def verify(
    path: _Path,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Check signature and digests alone; run no graph.")
    ] = False,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Check signature and digests, then run the golden inputs on this machine. Exit code 3 if vectors are off.

    The signature is checked if a public key or a trust file is given, before anything in the bundle is parsed.
    """
    from compat_sdk.bundle import Bundle
    from compat_sdk.embedder import Embedder
    from compat_sdk.transform import Transform

    makers = options.trusted(public_key, trust)
    with console.working():  # the signing library prints its warnings on stdout
        bundle = Bundle.open(path, trust=makers)
    signer = bundle.signed_by
    payload: dict[str, object] = {"bundle": str(path), "signature_of": signer}
    line = f"{path}: digests match"
    if signer is not None:
        line += f", signed by {'' if public_key is None else 'the owner of '}{signer}"
    if not files_only:
        if bundle.manifest.role == "transform":
            test, what = Transform.load(bundle, engine=engine, threads=threads).self_test(), "vectors transformed"
        else:
            test, what = Embedder.load(bundle, engine=engine, threads=threads).self_test(), "images embedded"
        payload[what.partition(" ")[0]] = test.rows
        payload["min_cosine"] = test.min_cosine
        payload["max_abs_difference"] = test.max_abs_difference
        payload["bound"], payload["pictures"] = test.bound, test.pictures
        line += f"; {test.rows} golden {what}, worst cosine {test.min_cosine:.7f} (at least {test.bound:g})"
        if bundle.manifest.source is None and not test.pictures:
            line += f"; {_WEAKER}"
    console.report(payload, escaped(line), as_json=as_json)


@app.command("pack")
def pack(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Bundle folder.")],
    out: Annotated[Path, typer.Option("--out", help="Zip file to make, such as query.bundle.zip.")],
    overwrite: options.Overwrite = False,
    allow_older: options.AllowOlder = False,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Write a bundle folder as one zip file. The same bundle always gives the same bytes."""
    _copy(path, out, "zip", overwrite, allow_older, options.trusted(public_key, trust), as_json)


@app.command("unpack")
def unpack(
    path: Annotated[Path, typer.Argument(metavar="ZIP", help="Bundle zip file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to make, such as query.bundle.")],
    overwrite: options.Overwrite = False,
    allow_older: options.AllowOlder = False,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Write a bundle's zip file as a folder, after every check that opening it makes."""
    _copy(path, out, "folder", overwrite, allow_older, options.trusted(public_key, trust), as_json)


@app.command("sign")
def sign(
    path: _Path,
    key: Annotated[Path, typer.Option("--key", help="PEM file of the private key.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Sign a copy and leave BUNDLE as it is; .zip or a folder.", show_default=False),
    ] = None,
    overwrite: options.Overwrite = False,
    allow_older: options.AllowOlder = False,
    as_json: options.Json = False,
) -> None:
    """Sign every file of a bundle with a private key; the signature travels inside as signature.json.

    Make a key pair once, keep private.pem to yourself and give public.pem to whoever shall check:

    \b
        openssl ecparam -name prime256v1 -genkey -noout -out private.pem
        openssl ec -in private.pem -pubout -out public.pem
    """  # noqa: D301  # \\b is click's mark for lines that are not to be wrapped
    from compat_sdk.bundle import sign_bundle

    require("sign")
    if overwrite and out is None:
        raise ConfigError("--overwrite says what to do with --out, which is not given; leave it out to sign in place")
    options.require_overwrite(overwrite, allow_older)
    with console.working():
        signed = sign_bundle(path, key, out=out, overwrite=overwrite, allow_older=allow_older)
    payload = {"bundle": str(signed.path), "form": signed.form, "key": str(key)}
    console.report(payload, escaped(f"{signed.path}: {len(signed.manifest.files) + 1} files signed"), as_json=as_json)


def _covers(space: str) -> str:
    from compat_sdk.space import covers_all

    return "all" if covers_all(space) else "weights"


def _searches_text(manifest: Manifest) -> str:
    """Each gallery space that it may search, and what shows it."""
    lines = []
    for space in manifest.searches:
        shown = manifest.certificates_for(space)
        lines += [f"\n  {space}: {escaped(str(found))}" for found in shown or ("declared, not shown by an evaluation",)]
    return "".join(lines) or "only its own space"


def _cost_texts(manifest: Manifest) -> dict[str, str]:
    """Its figures as people read them: rounded, and with their unit."""
    budget = f"{manifest.tier} (a budget: queries of at most about {manifest.tier} MMACs)"
    return {
        "dim": f"{manifest.dim} numbers",
        "tier": budget if manifest.tier.replace(".", "", 1).isdigit() else manifest.tier,
        "mmacs": f"{console.figure(manifest.mmacs)} million multiply-accumulates for one image",
        "mmacs_paper": f"{console.figure(manifest.mmacs_paper)} by the papers' count, with 2 per batch-norm element",
        "params_m": f"{console.figure(manifest.params_m)} million parameters",
    }


def _graph_facts(manifest: Manifest, graph: Graph) -> dict[str, Any]:
    """A graph's record, its size, and what its client makes of 8-bit RGB: tensor = pixel * scale + offset."""
    from compat_sdk.bundle.self_test import min_cosine

    part = None if manifest.preprocessing is None else graph.client_part(manifest.preprocessing)
    return {
        "target": graph.target,
        "precision": graph.precision,
        "file": graph.file,
        "bytes": sum(record.bytes for name, record in manifest.files.items() if graph.is_made_of(name)),
        "inputs": list(graph.inputs),
        "output": graph.output,
        "layout": graph.layout,
        "batch": graph.batch,
        "values": graph.values,
        "min_cosine": min_cosine([graph]),
        "channels": None if part is None else part.channels,
        "scale": None if part is None else list(part.scale),
        "offset": None if part is None else list(part.offset),
    }


def _ports_text(manifest: Manifest, graph: Graph) -> str:
    """What a graph takes and gives, such as ``old [any, 128] -> embedding [any, 128]``."""
    rows = "any" if graph.batch is None else str(graph.batch)
    if (source := manifest.source) is not None:
        dims = zip(graph.inputs, (source.old_dim, source.side_dim), strict=False)
        taken = ", ".join(f"{name} [{rows}, {dim}]" for name, dim in dims)
    elif (preprocessing := manifest.preprocessing) is not None:
        size = preprocessing.size
        shape = f"{size}, {size}, 3" if graph.layout == "nhwc" else f"3, {size}, {size}"
        part = graph.client_part(preprocessing)
        pixels = f"prepared: pixel * {_three(part.scale)} + {_three(part.offset)}, {part.channels}"
        if graph.values == "pixels":
            pixels = "pixels: 0 to 255 as they are, rgb"
        taken = f"{graph.inputs[0]} [{rows}, {shape}] {graph.layout}, {pixels}"
    return f"{taken} -> {graph.output} [{rows}, {manifest.dim}]"


def _three(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


def _copy(
    path: Path, out: Path, form: str, overwrite: bool, allow_older: bool, trust: Trust | None, as_json: bool
) -> None:
    from compat_sdk.bundle import Bundle
    from compat_sdk.bundle.publish import form_of

    if form_of(out) != form:
        ending = "ends with .zip" if form == "zip" else "does not end with .zip"
        raise ConfigError(f"--out is {out}; expected a name that {ending}")
    options.require_overwrite(overwrite, allow_older)
    with console.working():
        bundle = Bundle.open(path, trust=trust, allow_expired=True)
    if bundle.form == form:
        raise ConfigError(f"{path} is a bundle {form} already; copy it as it is")
    copy = bundle.copy_to(out, overwrite=overwrite, allow_older=allow_older)
    payload = {"bundle": str(copy.path), "form": copy.form, "signed": copy.signed}
    console.report(payload, escaped(f"{copy.path}: the same bundle as a {copy.form}, digests match"), as_json=as_json)
