"""Signatures of bundles: who made a bundle, where a digest only says that it is whole.

A thin layer over OpenSSF's ``model-signing`` in its key mode, which needs no network: ECDSA on P-256, P-384 or P-521
over the SHA-256 of every file, as a DSSE envelope in a Sigstore bundle. A signature does not say which of several
signed bundles is the newest, and it is not the same twice, because ECDSA draws a random number.

Source: OpenSSF Model Signing Specification v1.0, https://github.com/ossf/model-signing-spec; make a key pair with

    openssl ecparam -name prime256v1 -genkey -noout -out private.pem
    openssl ec -in private.pem -pubout -out public.pem
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compat_sdk.bundle.files import BundleFiles, read_document
from compat_sdk.bundle.names import MANIFEST, SIGNATURE
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError


def make_signature(contents: Mapping[str, bytes], private_key: str | os.PathLike[str]) -> bytes:
    """Sign every file of a bundle.

    Args:
        contents: Content of every file by name, the manifest included.
        private_key: PEM file with a private key on P-256, P-384 or P-521, not encrypted.

    Returns:
        Content of the bundle's ``signature.json``.

    Raises:
        ConfigError: The key cannot be used.
        MissingExtraError: model-signing is not installed.
    """
    _require_library()
    from model_signing import signing

    key = _key_path(private_key)
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
    except Exception as error:  # the cryptography library's own errors share no base
        raise ConfigError(
            f"{key} is no private key that can sign ({_words(error)}); expected a PEM file, not encrypted, made by: "
            f"openssl ecparam -name prime256v1 -genkey -noout -out private.pem"
        ) from error
    signer.set_hashing_config(_every_file())
    with _staged((name, (data,)) for name, data in contents.items()) as (folder, beside):
        signer.sign(folder, beside)
        return beside.read_bytes()


def require_signature(files: BundleFiles, manifest: bytes, public_key: str | os.PathLike[str]) -> None:
    """Check that the owner of a key signed exactly these files.

    They are copied to a private temporary folder first, so that what was checked cannot change under the check; the
    manifest checked is the one given, and its digests then hold for whatever is read later.

    Args:
        files: The bundle's files; none of them is parsed.
        manifest: Content of the manifest, as it will be parsed.
        public_key: PEM file with the public key.

    Raises:
        BundleError: There is no signature, it is of another key, or a file was changed, added or removed.
        ConfigError: The key cannot be used.
        MissingExtraError: model-signing is not installed.
    """
    if SIGNATURE not in files.sizes:
        raise BundleError(
            f"{files.path} is not signed: it has no {SIGNATURE}; get a signed bundle, or open it without a public key"
        )
    _require_library()
    from model_signing import verifying

    key = _key_path(public_key)
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # the cryptography library's own errors share no base
        raise ConfigError(
            f"{key} is no public key that can check a signature ({_words(error)}); expected a PEM file made by: "
            f"openssl ec -in private.pem -pubout -out public.pem"
        ) from error
    verifier.set_hashing_config(_every_file())
    signature = read_document(files, SIGNATURE)
    content = ((name, files.chunks(name)) for name in files.sizes if name not in (MANIFEST, SIGNATURE))
    with _staged(itertools.chain([(MANIFEST, (manifest,))], content)) as (folder, beside):
        beside.write_bytes(signature)
        try:
            verifier.verify(folder, beside)
        except Exception as error:  # a hostile signature fails in json, pydantic or native cryptography: all mean no
            raise BundleError(
                f"{files.path} does not carry a valid signature of {key}: {_words(error)}; do not use the bundle, "
                f"get it again from its source, and check that the key is its maker's"
            ) from error


@contextlib.contextmanager
def _staged(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[tuple[Path, Path]]:
    """A private folder with these files, and a path beside it for the signature; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="compat-sdk-") as name:
        folder = Path(name) / "bundle"
        for file, chunks in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            with (folder / file).open("xb") as copy:
                copy.writelines(chunks)
        yield folder, Path(name) / SIGNATURE


def _require_library() -> None:
    # It imports pyOpenSSL without requiring it (model-signing 1.1.1 with sigstore 4.5), so either may be absent.
    try:
        import model_signing  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyopenssl" if error.name == "OpenSSL" else "model-signing", "sign") from error


def _every_file() -> Any:
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=(), ignore_git_paths=False)


def _key_path(key: str | os.PathLike[str]) -> Path:
    path = Path(key)
    if not path.is_file():
        raise ConfigError(f"there is no key file {path}; make a pair with openssl, see `compat-sdk bundle sign --help`")
    return path


def _words(error: Exception) -> str:
    """What the library says, in one line; of its list of digests the names of the files."""
    text = " ".join(str(error).split()) or type(error).__name__
    changed = re.findall(r"Hash mismatch for \W*([\w./-]+)", text)
    return f"it was made for other content of {', '.join(changed[:5])}" if changed else text[:300]
