"""Whom a reader trusts: makers by their public keys, what each may sign, and the oldest release that is still taken.

What is told to be trusted is checked before a parser sees it. A signature never gets old by itself, so that whoever
keeps yesterday's signed bundle could hand it out for ever: the release counter and the day of expiry, which are in the
manifest and so are signed, end that.

Source: rollback and freeze attacks, The Update Framework specification 1.0.33, section 1.5.2,
https://theupdateframework.github.io/specification/v1.0.33/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from compat_sdk.bundle.files import BundleFiles, read_document
from compat_sdk.bundle.last_day import require_day
from compat_sdk.bundle.maker import GALLERY_ROLE, Maker
from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.names import MANIFEST, SIGNATURE
from compat_sdk.bundle.signature import PublicKey, require_signature, require_signing
from compat_sdk.bundle.trust_file import read_trust_file, trusted_by
from compat_sdk.errors import BundleError, ConfigError, CorruptFileError, GalleryError
from compat_sdk.shown import shown_value
from compat_sdk.spelling import composed


@dataclass(frozen=True)
class Trust:
    """Makers whose signature one must be, and how old a bundle may be.

    Attributes:
        makers: At least one.
        least_release: By name of a bundle or a gallery, the lowest release that is taken.
        galleries: Whether commands that take galleries want them signed too; `compat_sdk.gallery.Gallery.open` does
            whenever it is given a trust.

    Raises:
        ConfigError: There is no maker, or a release below 1.
    """

    makers: tuple[Maker, ...]
    least_release: Mapping[str, int] = field(default_factory=dict)
    galleries: bool = False

    def __post_init__(self) -> None:
        if not self.makers:
            raise ConfigError("there is no maker to trust; expected at least one, with a name and a public_key")
        for name, least in self.least_release.items():
            if type(least) is not int or least < 1:
                raise ConfigError(
                    f"least_release of {shown_value(name)} is {shown_value(least)}; expected an integer of at least 1"
                )

    @classmethod
    def of_key(cls, public_key: str | os.PathLike[str]) -> Trust:
        """Trust in the owner of one key for everything.

        Raises:
            ConfigError: There is no such file.
        """
        key = PublicKey.read(public_key)
        return cls((Maker(key.name, key),))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Trust:
        """Read a trust file: JSON if its name ends with ``.json``, else TOML.

        Raises:
            ConfigError: It is missing, malformed, has a key that is not known, or names a key file that is not there.
            SystemRefusedError: The system refused to read it.
        """
        file = Path(path)
        document = read_trust_file(file)
        try:
            return cls(*trusted_by(document, file.parent))
        except ConfigError as error:
            raise ConfigError(f"trust file {file}: {error}") from error

    def require_signer(self, files: BundleFiles, manifest: bytes) -> Callable[[Manifest], str]:
        """Check that a known maker signed exactly these files; nothing of them is parsed.

        Args:
            files: The bundle's.
            manifest: Content of the manifest, as it will be parsed: its digests hold for whatever is read later.

        Returns:
            What is to be called with the parsed manifest: it raises BundleError unless the signer may sign such a
            bundle and its release is new enough, and returns the name of the signer.

        Raises:
            BundleError: There is no signature, or none of a known maker that holds.
            ConfigError: A key cannot be used.
            MissingExtraError: model-signing is not installed.
        """
        if SIGNATURE not in files.sizes:
            raise BundleError(
                f"{files.path} is not signed: it has no {SIGNATURE}; get a signed bundle, or open it without a public "
                f"key and without a trust file"
            )
        others = ((name, files.chunks(name)) for name in files.sizes if name not in (MANIFEST, SIGNATURE))
        content = chain([(MANIFEST, iter((manifest,)))], others)
        signers = self._signers(os.fspath(files.path), content, read_document(files, SIGNATURE), BundleError)

        def check(found: Manifest) -> str:
            signer = _allowed(signers, os.fspath(files.path), found.role, found.space, found.name, BundleError)
            self._require_release(Path(files.path), found.name, found.release, BundleError)
            return signer

        return check

    def require_gallery_signer(
        self, path: Path, contents: Mapping[str, bytes], signature: bytes
    ) -> Callable[[str, str, int, str | None], str]:
        """Check that a known maker signed the state of a gallery, which has the digest of every file of it.

        Args:
            path: Folder of the gallery, for errors.
            contents: Content of the state and of the release by file name, as they will be parsed.
            signature: Content of the gallery's ``signature.json``.

        Returns:
            What is to be called with the gallery's space, its name, release and last day: it raises GalleryError unless
            the signer may sign such a gallery and it is new enough, and returns the name of the signer.

        Raises:
            GalleryError: The signature is of nobody who is known, or of another state.
            ConfigError: A key cannot be used.
            MissingExtraError: model-signing is not installed.
        """
        files = [(name, iter((content,))) for name, content in contents.items()]
        signers = self._signers(os.fspath(path), files, signature, GalleryError)

        def check(space: str, name: str, release: int, expires: str | None) -> str:
            signer = _allowed(signers, os.fspath(path), GALLERY_ROLE, space, None, GalleryError)
            self._require_release(path, name, release, GalleryError)
            require_day(expires, name, path, GalleryError)
            return signer

        return check

    def _require_release(self, path: Path, name: str, release: int, error: type[CorruptFileError]) -> None:
        own = composed(name)
        least = max((least for named, least in self.least_release.items() if composed(named) == own), default=1)
        if release < least:
            raise error(
                f"{path} is release {release} of {name}, and {least} or later is trusted: an old version was put in "
                f"the place of a newer one; get the newest from its maker"
            )

    def _signers(
        self,
        what: str,
        content: Iterable[tuple[str, Iterable[bytes]]],
        signature: bytes,
        error: type[CorruptFileError],
    ) -> list[Maker]:
        """The makers that the signature may be of: usually one, more where several share a key."""
        keys = [maker.key for maker in self.makers]
        signer = keys[require_signature(what, content, signature, keys, error)]
        return [maker for maker in self.makers if maker.key.pem == signer.pem]


def trust_of(public_key: str | os.PathLike[str] | None, trust: str | os.PathLike[str] | Trust | None) -> Trust | None:
    """The trust that a caller's two arguments ask for; None if neither is given.

    Args:
        public_key: PEM file of the one maker that is trusted.
        trust: A trust, or the trust file that says it.

    Raises:
        ConfigError: Both are given, or one cannot be used.
        MissingExtraError: One is given, and model-signing is not installed.
    """
    if public_key is not None and trust is not None:
        raise ConfigError("both a public key and a trust file are given (COMPAT_SDK_TRUST too names one); expected one")
    if public_key is not None or trust is not None:
        require_signing()
    if trust is not None:
        return trust if isinstance(trust, Trust) else Trust.read(trust)
    return None if public_key is None else Trust.of_key(public_key)


def refuse_run(path: str | os.PathLike[str], trust: Trust | None) -> None:
    """Refuse a RUN, which no signature can be in, where one is asked for.

    Raises:
        ConfigError: A signature is asked for.
    """
    if trust is not None:
        raise ConfigError(
            f"{path} is no bundle and so is never signed; expected a signed BUNDLE: export it and sign that, or leave "
            f"the public key and the trust file (COMPAT_SDK_TRUST too) out"
        )


def require_current(manifest: Manifest, path: object) -> None:
    """Refuse a bundle after its last day.

    Args:
        manifest: Of the bundle.
        path: Where it is, for the error.

    Raises:
        BundleError: Its ``expires`` is past, by this machine's clock in UTC.
    """
    require_day(manifest.expires, manifest.name, path, BundleError)


def _allowed(
    signers: Sequence[Maker], what: str, role: str, space: str, name: str | None, error: type[CorruptFileError]
) -> str:
    problems = [maker.problem(role, space, name) for maker in signers]
    if None in problems:
        return signers[problems.index(None)].name
    raise error(
        f"{what} is signed by {signers[0].name}, and is of the {problems[0]}; do not use it, or let the trust file "
        f"allow it"
    )
