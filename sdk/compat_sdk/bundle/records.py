"""Which file it must be: its size and its SHA-256."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """Which file it must be: SHA-256 of its content (64 hexadecimal digits) and its size in bytes."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or _SHA256.fullmatch(self.sha256) is None:
            raise ConfigError(f"SHA-256 is {shown_value(self.sha256)}; expected 64 lower-case hexadecimal digits")
        if not isinstance(self.bytes, int) or isinstance(self.bytes, bool) or self.bytes < 0:
            raise ConfigError(f"a file size is {shown_value(self.bytes)}; expected a number of bytes")


def record_of(data: bytes) -> FileRecord:
    """Return the record of a file with this content."""
    return FileRecord(hashlib.sha256(data).hexdigest(), len(data))
