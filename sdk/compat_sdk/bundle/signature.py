"""Signatures of bundles and galleries: who made one, where a digest only says that it is whole.

A thin layer over OpenSSF's ``model-signing`` in its key mode, which needs no network: ECDSA on P-256, P-384 or P-521
over the SHA-256 of every file, as a DSSE envelope in a Sigstore bundle. A signature does not say which of several
signed bundles is the newest, see `compat_sdk.bundle.trust`; and it is not the same twice, because ECDSA draws a random
number.

Source: OpenSSF Model Signing Specification v1.0, https://github.com/ossf/model-signing-spec; make a key pair with

    openssl ecparam -name prime256v1 -genkey -noout -out private.pem
    openssl ec -in private.pem -pubout -out public.pem
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compat_sdk.bundle.names import SIGNATURE
from compat_sdk.errors import BundleError, ConfigError, CorruptFileError, MissingExtraError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

_KEY_LIMIT = 64 << 10


@dataclass(frozen=True)
class PublicKey:
    """A public key on P-256, P-384 or P-521.

    Attributes:
        name: What to call it in an error: its file, or whose it is.
        pem: Content of its PEM file.
    """

    name: str
    pem: bytes

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PublicKey:
        """Read a PEM file; whether it is a key is known when it checks a signature.

        Raises:
            ConfigError: There is no such file, or it is too large for a key.
            SystemRefusedError: The system refused to read it.
        """
        file = _key_path(path)
        try:
            return cls(os.fspath(file), read_plain(file, _KEY_LIMIT))
        except CorruptFileError as error:
            raise ConfigError(f"{error}; expected the PEM file of a public key") from error
        except OSError as error:
            raise_if_refused(file, error)
            raise ConfigError(f"cannot read key file {file}: {error.strerror or error}; name another") from error


def make_signature(contents: Mapping[str, bytes], private_key: str | os.PathLike[str]) -> bytes:
    """Sign every one of these files.

    Args:
        contents: Content of every file by name.
        private_key: PEM file with a private key on P-256, P-384 or P-521, not encrypted.

    Returns:
        Content of ``signature.json``.

    Raises:
        ConfigError: The key cannot be used.
        MissingExtraError: model-signing is not installed.
        SystemRefusedError: The system refused the temporary copy that is signed.
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


def require_signature(
    what: str,
    content: Iterable[tuple[str, Iterable[bytes]]],
    signature: bytes,
    keys: Sequence[PublicKey],
    error: type[CorruptFileError] = BundleError,
) -> int:
    """Check that the owner of one of these keys signed exactly these files.

    They are copied to a private temporary folder first, so that what was checked cannot change under the check.

    Args:
        what: The bundle or gallery, for an error.
        content: Name and content, in parts, of every file that must have been signed; none of them is parsed.
        signature: Content of ``signature.json``.
        keys: Public keys, at least one.
        error: Class of the refusal.

    Returns:
        Position of the key whose owner signed them.

    Raises:
        CorruptFileError: The signature is of another key, or a file was changed, added or removed.
        ConfigError: A key cannot be used.
        MissingExtraError: model-signing is not installed.
        SystemRefusedError: The system refused the temporary copy that is checked.
    """
    _require_library()
    with _staged(content) as (folder, beside):
        beside.write_bytes(signature)
        verifiers = [_verifier(key, folder.with_name(f"key-{place}.pem")) for place, key in enumerate(keys)]
        said: list[tuple[bool, str]] = []
        for place, verifier in enumerate(verifiers):
            try:
                verifier.verify(folder, beside)
                return place
            except MemoryError:
                raise
            except Exception as problem:  # a hostile signature fails in json, pydantic or native code: all mean no
                if isinstance(problem, OSError):
                    raise_if_refused(folder, problem)
                said.append(("Key mismatch" in str(problem), _words(problem)))
    others, reason = min(said)  # what the right key says, rather than that another one is not it
    of = (
        shortened(keys[0].name, 60)
        if len(keys) == 1
        else f"any of {len(keys)} known makers"
        if others
        else "a known maker"
    )
    raise error(
        f"{what} does not carry a valid signature of {of}: {reason}; do not use it, get it again from its source, and "
        f"check that the key is its maker's"
    )


def require_signing() -> None:
    """Return if signatures can be made and checked here.

    Raises:
        MissingExtraError: model-signing, or the pyOpenSSL that it needs, is not installed.
    """
    _require_library()


def _verifier(key: PublicKey, file: Path) -> Any:
    from model_signing import verifying

    file.write_bytes(key.pem)
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=file)
    except Exception as error:  # the cryptography library's own errors share no base
        raise ConfigError(
            f"{key.name} is no public key that can check a signature ({_words(error)}); expected a PEM file made by: "
            f"openssl ec -in private.pem -pubout -out public.pem"
        ) from error
    return verifier.set_hashing_config(_every_file())


@contextlib.contextmanager
def _staged(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[tuple[Path, Path]]:
    """A private folder with these files, and a path beside it for the signature; both are gone afterwards."""
    with contextlib.ExitStack() as stack:
        try:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compat-sdk-")))
            folder = root / "bundle"  # a name that the signatures of earlier releases have too
            for file, chunks in files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                with (folder / file).open("xb") as copy:
                    copy.writelines(chunks)
        except OSError as error:  # of the copy: whoever yields the chunks has errors of its own
            raise_if_refused(error.filename or tempfile.gettempdir(), error, "write")
            raise
        yield folder, root / SIGNATURE


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
    try:
        found = path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise_if_refused(path, error)
        found = False
    if not found:
        raise ConfigError(
            f"there is no key file {shortened(str(path), 100)}; make a pair with openssl, see `compat-sdk bundle sign "
            f"--help`"
        )
    return path


def _words(error: Exception) -> str:
    """What the library says, in one line; of its list of digests the names of the files."""
    text = " ".join(str(error).split()) or type(error).__name__
    changed = re.findall(r"Hash mismatch for \W*([\w./-]+)", text)
    return f"it was made for other content of {', '.join(changed[:5])}" if changed else shortened(text, 100)
