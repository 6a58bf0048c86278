"""A bundle as one zip file, in the one form that `compat-sdk bundle pack` writes.

The zip format says most things twice (in each entry's own header and in the directory at the end) and lets readers
disagree about which to believe; most attacks on archives live in that gap. So a bundle's zip has exactly one form:
files stored without compression, in the order of their names, dated 1980-01-01, one after the other without a gap,
nothing before, between or behind them. The same files then always give the same bytes; nothing can unpack to more
than the file's own size; and a reader can make the headers again and compare. Any zip tool can read it.

Source: .ZIP File Format Specification 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16,
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from compat_sdk.bundle.names import MANIFEST, SIGNATURE, check_file_name, check_file_names
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.plain import read_chunks
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # of the format: plain files and folders
_UNIX = 3 << 8
_JANUARY_1980 = 1 << 5 | 1
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16
_COUNT_LIMIT = 10_000
_DIRECTORY_LIMIT = 4 << 20
_SIZE_LIMIT = 0xFFFFFFFF  # zip64 begins here
_REPACK = "unpack it and write it again with `compat-sdk bundle pack`"


@dataclass(frozen=True)
class _Entry:
    name: str
    crc: int
    size: int
    offset: int

    def local(self) -> bytes:
        """The header in front of the content."""
        name = self.name.encode("ascii")
        fields = (_VERSION, 0, 0, 0, _JANUARY_1980, self.crc, self.size, self.size, len(name), 0)
        return _LOCAL.pack(b"PK\3\4", *fields) + name

    def central(self) -> bytes:
        """The record in the directory at the end."""
        name = self.name.encode("ascii")
        fields = (_UNIX | _VERSION, _VERSION, 0, 0, 0, _JANUARY_1980, self.crc, self.size, self.size, len(name))
        return _CENTRAL.pack(b"PK\1\2", *fields, 0, 0, 0, 0, _PLAIN_FILE, self.offset) + name

    @property
    def start(self) -> int:
        """Where the content begins."""
        return self.offset + _LOCAL.size + len(self.name)


class ZipFiles:
    """The files of a bundle's zip, after its structure was checked and before any content is looked at.

    Args:
        path: The zip file.

    Attributes:
        path: The zip file.
        form: ``"zip"``.
        sizes: Size in bytes of every file, by its name with ``/``.

    Raises:
        BundleError: The file is no zip, or differs in any byte of its structure from what `zip_bytes` writes; the
            message names the entry.
        OSError: The file cannot be read.
    """

    form = "zip"

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._entries = {entry.name: entry for entry in _read_entries(file, path)}
        if MANIFEST not in self._entries:
            raise BundleError(f"{path} is not a bundle: it has no {MANIFEST} at its root")
        self.sizes = {name: entry.size for name, entry in self._entries.items()}

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a listed file in parts, compared with its CRC-32 at the end.

        Raises:
            BundleError: The zip is gone, or the content does not fit.
            SystemRefusedError: The system refused to read it.
        """
        entry = self._entries[name]
        crc = 0
        try:
            with self.path.open("rb") as file:
                file.seek(entry.start)
                for chunk in read_chunks(file, entry.size):
                    crc = zlib.crc32(chunk, crc)
                    yield chunk
        except OSError as error:
            raise_if_refused(self.path, error)
            raise BundleError(f"cannot read {self.path / name}: {error.strerror or error}") from error
        if crc != entry.crc:
            raise BundleError(
                f"{self.path / name} has CRC-32 {crc:08x}, expected {entry.crc:08x}: it is damaged or changed since "
                f"the bundle was opened; restore {self.path} from its source"
            )


def zip_bytes(contents: Mapping[str, bytes]) -> bytes:
    """Return the zip that holds these files: always the same bytes for the same files.

    Raises:
        ConfigError: A name is not a plain relative one, or the files need more than 4 GiB (use the folder form).
    """
    check_file_names(contents.keys() - {MANIFEST, SIGNATURE})
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name in sorted(contents):
        data = contents[name]
        if offset + len(data) + len(name) + _DIRECTORY_LIMIT > _SIZE_LIMIT or len(contents) > _COUNT_LIMIT:
            raise ConfigError(f"{name} does not fit: a bundle's zip holds 4 GiB and {_COUNT_LIMIT} files; use a folder")
        entry = _Entry(name, zlib.crc32(data), len(data), offset)
        parts += (entry.local(), data)
        directory.append(entry.central())
        offset = entry.start + len(data)
    central = b"".join(directory)
    return b"".join((*parts, central, _end(len(directory), len(central), offset)))


def _end(count: int, size: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


def _read_entries(file: BinaryIO, path: Path) -> list[_Entry]:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size < _END.size:
        raise BundleError(f"{path} is not a bundle: neither a folder nor a zip file")
    file.seek(status.st_size - _END.size)
    end = file.read(_END.size)
    signature, _, _, _, count, size, offset, _ = _END.unpack(end)
    if signature != b"PK\5\6":
        raise BundleError(f"{path} is not a bundle: it does not end as a zip file does (cut, or something added)")
    if 0xFFFF in (count, size) or _SIZE_LIMIT in (size, offset):
        raise BundleError(f"{path} refers to a zip64 directory; a bundle's zip has none; {_REPACK}")
    if count > _COUNT_LIMIT or size > _DIRECTORY_LIMIT:
        raise BundleError(f"{path} lists {count} files in {size} bytes; a bundle never needs so many")
    if offset + size + _END.size != status.st_size or end != _end(count, size, offset):
        raise BundleError(f"{path} has bytes before its first entry or around its directory; {_REPACK}")
    file.seek(offset)
    directory = file.read(size)
    entries: list[_Entry] = []
    at = begin = 0
    while at < len(directory):
        entry, at = _read_record(directory, at, begin, path)
        file.seek(begin)
        if file.read(entry.start - begin) != entry.local():
            raise BundleError(f"{path}: entry {entry.name!r} is described differently at its own place; {_REPACK}")
        begin = entry.start + entry.size
        entries.append(entry)
    if begin != offset or len(entries) != count:
        raise BundleError(f"{path}: its entries end at byte {begin}, its directory of {count} begins at {offset}")
    names = [entry.name for entry in entries]
    try:
        check_file_names(name for name in names if name not in (MANIFEST, SIGNATURE))
    except ConfigError as error:
        raise BundleError(f"{path}: {error}") from error
    if names != sorted(set(names)):
        raise BundleError(f"{path}: its entries are not in the order of their names, each once: {names[:5]}; {_REPACK}")
    return entries


def _read_record(directory: bytes, at: int, begin: int, path: Path) -> tuple[_Entry, int]:
    """Return the entry whose record begins at ``at``, and where the record ends."""
    if at + _CENTRAL.size > len(directory):
        raise BundleError(f"{path}: its directory is cut within a record")
    fields = _CENTRAL.unpack_from(directory, at)
    (_, _, _, flags, method, _, _, crc, packed, size, name_size, extra, comment, _, _, attributes, offset) = fields
    end = at + _CENTRAL.size + name_size + extra + comment
    raw = directory[at + _CENTRAL.size :][:name_size]
    name = raw.decode("ascii", "backslashreplace")
    problem = (
        _name_problem(raw)
        or ("is encrypted" if flags & 0x41 else None)
        or (f"is compressed (method {method}); a bundle stores its files as they are" if method != 0 else None)
        or _type_problem(attributes >> 16)
        or (f"has {packed} bytes in the archive but {size} unpacked" if packed != size else None)
        or ("has extra fields or a comment, as zip64 needs" if extra or comment or size == _SIZE_LIMIT else None)
        or (f"begins at byte {offset}, expected {begin}: entries overlap or leave a gap" if offset != begin else None)
    )
    if problem is None:
        entry = _Entry(name, crc, size, offset)
        if directory[at:end] == entry.central():
            return entry, end
        problem = "has a date, flags, attributes or a version that no bundle has"
    raise BundleError(
        f"{path}: entry {shortened(repr(name))} {problem}; get the bundle again from its source, or, "
        f"if you trust it, {_REPACK}"
    )


def _name_problem(raw: bytes) -> str | None:
    if raw.endswith(b"/"):
        return "is a folder; a bundle's zip holds files only"
    try:
        if (name := raw.decode("ascii")) not in (MANIFEST, SIGNATURE):
            check_file_name(name)
        return None
    except (UnicodeDecodeError, ConfigError):
        return "is not a plain relative file name such as model.onnx or golden/images.npy"


def _type_problem(mode: int) -> str | None:
    if stat.S_ISLNK(mode):
        return "is a link; a bundle holds plain files only"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return f"is a special file (mode {mode:o}); a bundle holds plain files only"
    return None
