"""Files that are either whole or absent, and digests that say which file it is."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import secrets
import shutil
import stat
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from compat_sdk.errors import CorruptFileError, SystemRefusedError
from compat_sdk.shown import shortened, shown_value

# What a file system says of a file itself; every other refusal is the system's own affair.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, None}
_DEEPEST = 32  # levels of nesting in a JSON or TOML file
_LARGEST = 1 << 26  # bytes of a file that is read as a whole to be parsed
_REMEDIES = {
    errno.EMFILE: "close some files, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the whole system has too many files open; close some programs",
    errno.EACCES: "give this user permission",
    errno.EPERM: "give this user permission",
    errno.EROFS: "it can only be read; choose another place",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "make room on that disk, or choose another place (TMPDIR for temporary files)",
    errno.EDQUOT: "make room within this user's quota",
    errno.EIO: "check the disk and its cables; then read again",
    errno.ESTALE: "the network file system lost it; mount it again",
    errno.ETIMEDOUT: "the network file system does not answer; try again",
}


def raise_if_refused(path: object, error: OSError, what: str = "read") -> None:
    """Raise SystemRefusedError where the system, and not the file, is why ``path`` could not be read.

    Args:
        path: The file or folder, or what else its text names, such as a picture in a tar file.
        error: What the system said.
        what: What was to be done with it, for the message.
    """
    if error.errno not in _OF_THE_FILE:
        remedy = _REMEDIES.get(error.errno or 0, "mend that and try again")
        raise SystemRefusedError(
            str(path),
            error.errno,
            f"the system refused to {what} {path}: {error.strerror or error}; {remedy}",
        ) from error


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new, never a part of it.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name; a process
    that dies at any point leaves the old file, and at most a stray ``.NAME.*.tmp``.

    Raises:
        OSError: The folder does not exist, is not writable, or the disk is full; the old file is untouched.
    """
    with replacing(Path(path)) as file:
        file.write(data)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """An open file that takes the name ``target`` at the end, whole and on the disk, or is gone if the block fails.

    Raises:
        OSError: The folder does not exist or is not writable, or the disk is full; the old file is untouched.
    """
    temporary = _beside(target)
    try:
        with temporary.open("xb") as file:
            yield file
            _to_disk(file)
        temporary.replace(target)
    except OSError as error:
        _name_file(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextmanager
def durable_temporary(target: Path, data: bytes) -> Iterator[Path]:
    """A file with ``data`` beside ``target``, on the disk, for the caller to rename; deleted if it still is there.

    Raises:
        OSError: The folder does not exist, is not writable, or the disk is full.
    """
    temporary = _beside(target)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            _to_disk(file)
        yield temporary
    except OSError as error:
        _name_file(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _name_file(error: OSError, path: Path) -> None:
    if error.filename is None:  # a full disk is told by a number alone
        error.filename = os.fspath(path)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def open_locked(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file, made if need be, that one process at a time may hold; closing it, or dying, lets it go.

    Raises:
        BlockingIOError: Another process holds it.
        CorruptFileError: It is a pipe, a device or a socket.
        OSError: It cannot be opened for writing.
    """
    file = open_to_append(path)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(f"another process holds {path}") from error
    return file


def write_json_atomic(path: str | os.PathLike[str], value: object) -> None:
    """Write ``value`` as JSON (sorted keys, two spaces of indent, final newline), see `write_atomic`.

    Raises:
        ValueError: ``value`` holds NaN or infinity, which JSON cannot carry.
        OSError: The folder does not exist or is not writable, or the disk is full; the old file is untouched.
    """
    write_atomic(path, indented_json(value))


def indented_json(value: object) -> bytes:
    """Return ``value`` as JSON for people: sorted keys, two spaces of indent, final newline, UTF-8.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def canonical_json(value: object) -> bytes:
    """Return the one byte string that stands for a JSON value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def parse_json(data: bytes, name: str) -> dict[str, object]:
    """Parse a JSON object, refusing what two readers could understand differently.

    Args:
        data: UTF-8 bytes.
        name: What to call the file in an error.

    Raises:
        CorruptFileError: More than 64 MiB, not UTF-8, not JSON, not an object, a key that occurs twice, or what
            `check_plain` refuses.
    """
    if len(data) > _LARGEST:
        raise CorruptFileError(f"{name} has {len(data)} bytes of JSON, expected at most {_LARGEST}; restore it")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
        )
        check_plain(value)
    except (ValueError, RecursionError) as error:
        said = shortened(str(error) if isinstance(error, ValueError) else "it is nested too deeply")
        raise CorruptFileError(f"{name} is not valid JSON ({said}); restore it from its source") from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"{name} holds a JSON {type(value).__name__}; expected an object")
    return value


def parse_toml(data: bytes, name: str) -> dict[str, object]:
    """Parse a TOML document, refusing what `parse_json` refuses of the same values.

    Args:
        data: UTF-8 bytes.
        name: What to call the file in an error.

    Raises:
        CorruptFileError: Not UTF-8, not TOML, or what `check_plain` refuses.
    """
    try:
        found = tomllib.loads(data.decode("utf-8"))
        check_plain(found)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{name} is not a TOML file: {shortened(str(error), 120)}") from error
    return found


def sealed(value: Mapping[str, object]) -> dict[str, object]:
    """Return ``value`` with one more key, ``digest``: the SHA-256 of all the others.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
    """
    return {**value, "digest": hashlib.sha256(canonical_json(value)).hexdigest()}


def unsealed(value: Mapping[str, object], name: str, *, required: bool = True) -> dict[str, object]:
    """Return what `sealed` was given, refusing any change of it; spaces and the order of keys do not count.

    Args:
        value: The parsed JSON object.
        name: What to call it in an error.
        required: Refuse an object without a digest; False takes it as it is, since releases up to 0.7 wrote none.

    Raises:
        CorruptFileError: It differs from its own digest, or has none.
    """
    body = {key: item for key, item in value.items() if key != "digest"}
    if not required and "digest" not in value:
        return body
    try:
        holds = sealed(body)["digest"] == value.get("digest")
    except ValueError:  # a number beyond float64, which no writer of ours writes
        holds = False
    if not holds:
        raise CorruptFileError(
            f"{name} differs from its own digest: it was changed after it was written; restore it from a copy"
        )
    return body


def sealed_json(value: Mapping[str, object]) -> bytes:
    """Return ``value`` as JSON for people, with one more key, ``digest``: the SHA-256 of all the others.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
    """
    return indented_json(sealed(value))


def parse_sealed(data: bytes, name: str) -> dict[str, object]:
    """Parse what `sealed_json` wrote, refusing a change of a single byte; returned without the digest.

    Raises:
        CorruptFileError: It is not JSON, or differs from its own digest.
    """
    value = parse_json(data, name)
    body = {key: item for key, item in value.items() if key != "digest"}
    if sealed_json(body) != data:
        raise CorruptFileError(f"{name} differs from its own digest; restore it from a copy")
    return body


def read_json(path: str | os.PathLike[str]) -> dict[str, object]:
    """Read a file that holds one JSON object.

    Raises:
        CorruptFileError: The file is missing or not a JSON object; the message names the path.
        SystemRefusedError: The system refused to read it.
    """
    try:
        data = read_plain(path)
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    return parse_json(data, os.fspath(path))


def read_plain(path: str | os.PathLike[str], most: int = _LARGEST) -> bytes:
    """Return the content of a plain file; what would block, never end or fill the memory is refused at once.

    Args:
        path: The file; a link to one will do.
        most: Bytes that it may have.

    Raises:
        CorruptFileError: It is a pipe, a device or a socket, or larger than that.
        OSError: It cannot be opened or read; EISDIR for a folder.
    """
    with open_plain(path) as file:
        # A reader makes room for all that it is asked for: no more than the file has, and one to see that it grew.
        data = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > most:
        raise CorruptFileError(f"{os.fspath(path)} has more than {most} bytes, more than such a file has; check it")
    return data


def open_plain(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a plain file for reading; a pipe in its place would block whoever opens it, and is refused instead.

    Raises:
        CorruptFileError: It is a pipe, a device or a socket.
        OSError: It cannot be opened; EISDIR for a folder.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=without_waiting)
    _require_plain(file, path)
    return file


def open_to_append(path: str | os.PathLike[str]) -> io.BufferedWriter:
    """Open a plain file, made if need be, to write at its end: no pipe, whose writer would wait, and no link.

    Raises:
        CorruptFileError: It is a pipe, a device or a socket.
        OSError: It cannot be opened; EISDIR for a folder, ELOOP for a link.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0), 0o666)

    try:
        file = open(path, "ab", opener=without_waiting)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what Linux says of a pipe that nobody reads, and of a socket
            raise _no_plain_file(path) from error
        raise
    _require_plain(file, path)
    return file


def _require_plain(file: io.BufferedReader | io.BufferedWriter, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _no_plain_file(path)


def _no_plain_file(path: str | os.PathLike[str]) -> CorruptFileError:
    return CorruptFileError(f"{os.fspath(path)} is a pipe or a device; expected a plain file")


def check_plain(value: object) -> None:
    """Refuse, in a parsed JSON or TOML document, what another reader could understand differently or not at all.

    Raises:
        ValueError: More than 32 levels of nesting, a number that is not finite or needs more than 64 bits, or a text
            that is no valid Unicode.
    """
    level = [value]
    for _ in range(_DEEPEST + 1):
        for item in level:
            _check_leaf(item)
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (chain(outer, outer.values()) if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def read_chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next ``size`` bytes of an open file in parts of at most 1 MiB; fewer bytes where the file ends.

    Whoever reads by this never holds more than a header announced, whatever the file has grown to meanwhile.
    """
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        size -= len(chunk)
        yield chunk


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


def link_or_copy(source: Path, target: Path) -> None:
    """Give an immutable file a second name: a hard link, or a durable copy where the system makes none.

    A target that is there already stays: call it for names that stand for one content only.

    Raises:
        OSError: There is no such file, the folder is not writable, or the disk is full.
    """
    if target.exists():
        return
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        if not source.exists():
            raise
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        try:
            shutil.copyfile(source, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and the parents that it lacks, each of them on the disk; nothing if it is there.

    Args:
        folder: To be made.
        mode: Its permissions, but for what the process's mask takes away; parents have the usual ones.

    Raises:
        OSError: It cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode, parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make a rename in ``folder`` durable; nothing where the system cannot open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _check_leaf(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it holds {value}, which is not a finite number")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("it holds a number of more than 64 bits")
    if isinstance(value, str):
        value.encode()  # halves of surrogate pairs
