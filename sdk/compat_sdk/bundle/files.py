"""The files of a bundle, whichever form it has: listed, read, and judged by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from compat_sdk.bundle.archive import ZipFiles
from compat_sdk.bundle.folder import FolderFiles
from compat_sdk.bundle.names import MANIFEST
from compat_sdk.bundle.records import FileRecord
from compat_sdk.errors import BundleError, CorruptFileError
from compat_sdk.files.documents import parse_json
from compat_sdk.files.refusal import raise_if_refused

_DOCUMENT_LIMIT = 4 << 20
_SUFFIXES = {
    *(".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npz"),
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".jar", ".whl"),
}
_ARCHIVES = (
    b"PK\3\4",
    b"PK\5\6",
    b"\x1f\x8b\x08",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",
)


class BundleFiles(Protocol):
    """Files by name, in a folder or a zip. Nothing is known yet about what they hold."""

    @property
    def path(self) -> Path:
        """The folder or the zip file."""

    @property
    def form(self) -> str:
        """``"folder"`` or ``"zip"``."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Size in bytes of every file, by its name with ``/``."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a listed file in parts, never more than its listed size."""


def open_files(path: Path) -> BundleFiles:
    """List the files of a bundle: a folder, or else a zip whatever its name.

    Raises:
        BundleError: It is neither, holds no manifest, or holds what no bundle may.
        SystemRefusedError: The system refused to read it, so that nothing is known of it.
    """
    try:
        if path.is_dir():
            return FolderFiles(path)
        if path.is_file():  # a pipe would block whoever opens it
            return ZipFiles(path)
    except OSError as error:
        raise_if_refused(error.filename or path, error)
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    raise BundleError(f"{path} is not a bundle: there is no folder and no zip file of this name")


def read_document(files: BundleFiles, name: str) -> bytes:
    """Return the content of the manifest or the signature.

    Raises:
        BundleError: It is missing, cannot be read, or has more than 4 MiB.
    """
    size = files.sizes.get(name)
    if size is None:
        raise BundleError(f"{files.path} has no file {name}")
    if size > _DOCUMENT_LIMIT:
        raise BundleError(f"{files.path / name} is larger than {_DOCUMENT_LIMIT} bytes; restore it from its source")
    return b"".join(files.chunks(name))


def parse_manifest(data: bytes, files: BundleFiles) -> dict[str, object]:
    """Return the manifest's JSON object, unchecked.

    Raises:
        BundleError: It is not a JSON object.
    """
    try:
        return parse_json(data, os.fspath(files.path / MANIFEST))
    except CorruptFileError as error:
        raise BundleError(str(error)) from error


def verify_file(files: BundleFiles, name: str, record: FileRecord) -> None:
    """Check that a file is there, has the recorded size and SHA-256, and is neither a pickle nor an archive.

    Raises:
        BundleError: One of these does not hold; the message names the file.
    """
    size = files.sizes.get(name)
    problem = None
    if size is None:
        problem = "is missing"
    elif size != record.bytes:
        problem = f"has {size} bytes, expected {record.bytes}"
    if problem is None:
        digest, head, tail = hashlib.sha256(), b"", b""
        for chunk in files.chunks(name):
            digest.update(chunk)
            head, tail = head or chunk[:512], (tail + chunk)[-22:]
        if digest.hexdigest() == record.sha256:
            if _is_pickle(name, head, tail) or _is_archive(head, tail):
                raise BundleError(
                    f"{files.path / name} is a pickle or an archive, which can run code or hide it; a bundle holds "
                    f"neither"
                )
            return
        problem = f"has SHA-256 {digest.hexdigest()}, expected {record.sha256}"
    raise BundleError(f"{files.path / name} {problem}; restore {files.path} from its source")


def _is_pickle(name: str, head: bytes, tail: bytes) -> bool:
    protocol = len(head) > 1 and head[0] == 0x80 and head[1] <= 5
    return Path(name).suffix.lower() in _SUFFIXES or (protocol and tail[-1:] == b".")


def _is_archive(head: bytes, tail: bytes) -> bool:
    """Known first bytes; the end too, because a zip may follow anything."""
    bzip2 = head[:3] == b"BZh" and head[4:10] == b"1AY&SY"
    return head.startswith(_ARCHIVES) or bzip2 or head[257:262] == b"ustar" or tail.startswith(b"PK\5\6")
