"""What a Qdrant collection is called; the key in such an address is used, and never shown.

qdrant://HOST[:PORT]/COLLECTION[?vector=NAME]       a server
qdrants://[KEY@]HOST[:PORT]/COLLECTION              the same over TLS
qdrant+path:FOLDER#COLLECTION[?vector=NAME]         a folder that the client itself keeps, without a server
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value, without_keys

KEY_VARIABLE = "QDRANT_API_KEY"
_EXPECTED = "qdrant://HOST:PORT/COLLECTION, qdrants:// for TLS, or qdrant+path:FOLDER#COLLECTION"
_PORT = 6333
_NAME = re.compile(r"[^<>:\"/\\|?*\x00-\x1f\x7f-\x9f]{1,255}")  # what Qdrant's server takes
_PASSED = "pass a key in the variable QDRANT_API_KEY, or before the host"


@dataclass(frozen=True)
class QdrantAddress:
    """Where a collection is.

    Attributes:
        collection: Its name, or that of an alias.
        host: Of the server; empty for a folder, and for a client that somebody else made.
        port: Of its REST interface.
        tls: Whether the connection is encrypted.
        folder: Where the client keeps the collection itself; None for a server.
        vector: Name of the vectors; None for those without a name, or the only ones.
        key: What the server asks for; never shown.

    Raises:
        ConfigError: The name is none that Qdrant gives; in a folder it would lead elsewhere.
    """

    collection: str
    host: str = ""
    port: int = _PORT
    tls: bool = False
    folder: Path | None = None
    vector: str | None = None
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.collection) is None or self.collection in (".", ".."):
            raise ConfigError(
                f"{shown_value(self.collection)} is no name of a collection; expected 1 to 255 characters without "
                f'line breaks and any of < > : " / \\ | ? *'
            )

    def __str__(self) -> str:
        which = "" if self.vector is None else f"?vector={self.vector}"
        if self.folder is not None:
            return f"qdrant+path:{self.folder}#{self.collection}{which}"
        if not self.host:
            return f"collection {self.collection}{which}"
        return f"qdrant{'s' if self.tls else ''}://{self.host}:{self.port}/{self.collection}{which}"


def parse_address(place: str | os.PathLike[str]) -> QdrantAddress:
    """The parts of an address; a `Path`, which makes one slash of two, will do.

    Raises:
        ConfigError: It is malformed; the message does not show a key.
    """
    text = os.fspath(place)
    if text.startswith("qdrant+path:"):
        folder, _, rest = text.removeprefix("qdrant+path:").partition("#")
        collection, _, query = rest.partition("?")
        if not folder or not collection:
            raise _malformed(text)
        return QdrantAddress(collection, folder=Path(folder), vector=_vector(query, text))
    scheme, _, rest = text.partition(":")
    try:
        parts = urlsplit(f"{scheme}://{rest.lstrip('/')}")
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, 0
    if host is None or scheme not in ("qdrant", "qdrants"):
        raise _malformed(text) from None
    collection = unquote(parts.path.strip("/"))
    if not collection or "/" in collection or parts.fragment:
        raise _malformed(text)
    key = unquote(parts.password or parts.username or "") or os.environ.get(KEY_VARIABLE) or None
    return QdrantAddress(collection, host, port, scheme == "qdrants", None, _vector(parts.query, text), key)


def _vector(query: str, text: str) -> str | None:
    told = dict(parse_qsl(query, keep_blank_values=True))
    if set(told) - {"vector"}:
        names = ", ".join(sorted(set(told) - {"vector"}))
        raise ConfigError(f"{without_keys(text)} has {names} after the ?; expected vector alone: {_PASSED}")
    return told.get("vector") or None


def _malformed(text: str) -> ConfigError:
    return ConfigError(f"{without_keys(text)} is no address of a collection; expected {_EXPECTED}")
