"""Which of its versions a signed gallery is: a name and a counter that the signature covers, as a bundle's are.

    release.json    name, release, expires, payload; written by whoever signs, and void where the signature is

A signature never gets old, so that whoever keeps yesterday's signed gallery could hand it out for ever.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from compat_sdk.bundle.last_day import is_day
from compat_sdk.errors import ConfigError, CorruptFileError, GalleryError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import parse_sealed, sealed_json
from compat_sdk.gallery.files import StoredFile
from compat_sdk.gallery.payload import PAYLOAD_FILE
from compat_sdk.shown import shortened, shown_value

RELEASE_FILE = "release.json"
_FORMAT, _VERSION = "compat-sdk-gallery-release", 1
_LIMIT = 1 << 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_AGAIN = "sign the gallery again (compat-sdk index sign)"


@dataclass(frozen=True)
class Release:
    """One signed version of a gallery.

    Attributes:
        name: Of the gallery, the same for all of its versions; 1 to 120 printable characters.
        release: Counts the signed versions of one name, from 1.
        expires: Last day on which the signature counts, ``YYYY-MM-DD`` in UTC; None for no such day.
        payload: What is kept beside the rows, as it was signed; None of a signature that does not cover it.

    Raises:
        ConfigError: A value is out of its range.
    """

    name: str
    release: int = 1
    expires: str | None = None
    payload: StoredFile | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= 120 or not self.name.isprintable():
            raise ConfigError(f"name is {shown_value(self.name)}; expected 1 to 120 printable characters")
        if type(self.release) is not int or not 1 <= self.release < 2**31:
            raise ConfigError(f"release is {shown_value(self.release)}; expected an integer of at least 1")
        if self.expires is not None and not is_day(self.expires):
            raise ConfigError(f"expires is {shown_value(self.expires)}; expected a day such as 2027-12-31, or none")

    def to_bytes(self) -> bytes:
        """The content of its file."""
        return sealed_json({"format": _FORMAT, "version": _VERSION, **asdict(self)})

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Release:
        """Read what `to_bytes` wrote.

        Args:
            data: Content of the file.
            path: Of the file, for errors.

        Raises:
            GalleryError: It is damaged, or of a version that this release cannot read.
        """
        try:
            value = parse_sealed(data, str(path))
            if (value.pop("format", None), value.pop("version", None)) != (_FORMAT, _VERSION):
                raise GalleryError(f"{path} is no {_FORMAT} of version {_VERSION}; {_AGAIN}")
            payload = value.pop("payload", None)
            return cls(**value, payload=None if payload is None else _file(payload))  # type: ignore[arg-type]  # checked on construction
        except GalleryError:
            raise
        except (CorruptFileError, ConfigError, TypeError, ValueError) as error:
            raise GalleryError(f"{path} cannot be used ({shortened(str(error))}); {_AGAIN}") from error


def _file(value: object) -> StoredFile:
    if isinstance(value, dict) and set(value) == {"name", "sha256", "bytes"}:
        found = StoredFile(**value)
        digest = isinstance(found.sha256, str) and _SHA256.fullmatch(found.sha256)
        if found.name == PAYLOAD_FILE and digest and type(found.bytes) is int and found.bytes >= 0:
            return found
    raise ValueError(f"payload is {shown_value(value)}")


def read_release(folder: Path) -> bytes | None:
    """Return the content of a gallery's release file, not parsed; None if it has none.

    Raises:
        GalleryError: It is no plain file, or too large for one.
        SystemRefusedError: The system refused to read it.
    """
    path = folder / RELEASE_FILE
    if not os.path.lexists(path):
        return None
    try:
        if path.is_symlink():
            raise CorruptFileError(f"{path} is a link")
        return read_plain(path, _LIMIT)
    except CorruptFileError as error:
        raise GalleryError(f"{error}; {_AGAIN}") from error
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}; {_AGAIN}") from error


def next_release(
    folder: Path, name: str | None, release: int | None, expires: str | None, *, allow_older: bool
) -> Release:
    """Return what a new signature will say: the next number of the last name, where nothing else is told.

    Args:
        folder: Of the gallery.
        name: None for that of the last signature, or else the folder's.
        release: None for one more than the last, or else 1.
        expires: Last day; None for no such day.
        allow_older: Whether the number may be lower than the last one.

    Raises:
        ConfigError: A value is out of its range, or the number is lower than the last one.
        GalleryError: The last one is damaged.
    """
    data = read_release(folder)
    last = None if data is None else Release.parse(data, folder / RELEASE_FILE)
    if name is None:
        name = folder.resolve().name if last is None else last.name
    before = 0 if last is None or last.name != name else last.release
    made = Release(name, before + 1 if release is None else release, expires)
    if made.release < before and not allow_older:
        raise ConfigError(
            f"release is {made.release}, and {folder} was signed as release {before} of {name} already; expected that "
            f"or more, or --allow-older (allow_older=True)"
        )
    return made
