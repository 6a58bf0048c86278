"""Which file it is: its size and its SHA-256, and how it differs from a record of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened, shown_value


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_problem(path: Path, record: Mapping[str, object]) -> str | None:
    """Say how a file differs from its record, or return None; the size is compared before the digest.

    A record that lacks one of the two fits no file.

    Raises:
        SystemRefusedError: The system refused to read it, so that nothing is known of it.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise_if_refused(path, error)
        return f"cannot be read ({error.strerror or error})"
    if not stat.S_ISREG(status.st_mode):
        return "is not a plain file (links and folders are refused)"
    if status.st_size != (size := record.get("bytes")):
        return f"has {status.st_size} bytes, expected {shown_value(size)}"
    try:
        found = sha256_file(path)
    except OSError as error:
        raise_if_refused(path, error)
        return f"cannot be read ({error.strerror or error})"
    if found != (digest := record.get("sha256")):
        return f"has SHA-256 {found}, expected {shortened(str(digest))}"
    return None
