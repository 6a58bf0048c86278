"""`compat-sdk bundle`: what a bundle holds, whether it is intact and whose it is, and its two forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, options
from compat_cli.extras import require
from compat_cli.groups import Group
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust

app = typer.Typer(
    help="Look into an exported bundle, pack it, sign it.", no_args_is_help=True, rich_markup_mode=None, cls=Group
)
_Path = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder or zip file.")]


@app.command("info")
def info(
    path: _Path,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """The manifest: space, cost, preprocessing, files. Every file's digest is checked on the way."""
    from compat_cli.pages.bundle import bundle_facts, bundle_text
    from compat_sdk.bundle import Bundle

    makers = options.trusted(public_key, trust)
    with console.working():  # the signing library prints its warnings on stdout
        bundle = Bundle.open(path, trust=makers, allow_expired=True)
    facts = bundle_facts(bundle)
    console.report(facts, bundle_text(bundle, facts), as_json=as_json)


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
    from compat_cli.pages.bundle import WEAKER
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
            line += f"; {WEAKER}"
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
