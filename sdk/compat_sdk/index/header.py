"""What stands before a native library's bytes in an index file: its kind, and the rows that it is over.

usearch's files have none, as those of earlier releases: usearch tells both without reading the graph.
"""

from __future__ import annotations

import json

from compat_sdk.errors import GalleryError

_MAGIC = b"compat-sdk-index 1\n"
_LONGEST = 200


def seal(kind: str, content: bytes, dim: int, rows: int) -> bytes:
    """Return the content behind a header that says what it is over."""
    return _header(kind, dim, rows) + content


def unseal(kind: str, content: bytes, dim: int, rows: int) -> bytes:
    """Return what stands behind the header of such an index.

    Raises:
        GalleryError: It has another header, or none.
    """
    expected = _header(kind, dim, rows)
    if not content.startswith(expected):
        found = "no header" if not content.startswith(_MAGIC) else content[len(_MAGIC) : _LONGEST].split(b"\n")[0]
        raise GalleryError(
            f"found an index file with {found!r} unlike the gallery's ({kind}, {rows} rows of dimension {dim}); "
            f"rebuild the index"
        )
    return content[len(expected) :]


def _header(kind: str, dim: int, rows: int) -> bytes:
    return _MAGIC + json.dumps({"kind": kind, "dim": dim, "rows": rows}).encode() + b"\n"
