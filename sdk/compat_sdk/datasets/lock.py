"""The lock of a dataset: the digest of every file that it is read from, compared whenever it is opened.

A picture that rots rarely decodes, but an IDX file or a CSV manifest has no check of its own: one changed byte is
another pixel, another label, or a picture in another split. A lock is written once, by ``compat-sdk data info
--lock``; from then on the dataset is what it was, or it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compat_sdk.errors import ConfigError, CorruptFileError, DataError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.digests import sha256_file
from compat_sdk.files.documents import read_json
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import sealed_json, unsealed
from compat_sdk.shown import shortened
from compat_sdk.workers import usable_cores

LOCK = "compat-data.lock.json"
"""Name of the lock of a folder; that of a CSV manifest is the manifest's own name with this one after it."""
_FORMAT, _VERSION = "compat-sdk-data-lock", 1
_AGAIN = "restore it from a copy, or, if the change was meant, lock it again: compat-sdk data info --lock"


def _lock_place(data: Path) -> Path:
    """Where the lock of a dataset lies: in its folder, or beside its manifest."""
    return data / LOCK if data.is_dir() else data.with_name(f"{data.name}.{LOCK}")


def write_lock(data: Path, files: Iterable[Path]) -> Path:
    """Write down which files a dataset is read from, replacing an earlier lock.

    Args:
        data: Its folder or its manifest.
        files: All that it is read from.

    Returns:
        The lock.

    Raises:
        DataError: A file cannot be read, or the lock cannot be written.
        ConfigError: A file of another kind has the lock's name.
    """
    place = _lock_place(data)
    if place.exists():
        _read(place)
    names = _names(place.parent, files)
    with ThreadPoolExecutor(usable_cores()) as pool:
        records = dict(zip(names, pool.map(lambda name: _record(place.parent / name), names), strict=True))
    try:
        write_atomic(place, sealed_json({"format": _FORMAT, "version": _VERSION, "files": records}))
    except OSError as error:
        raise DataError(
            f"cannot write {place}: {error.strerror or error}; copy the data to a folder of yours"
        ) from error
    return place


def require_locked(data: Path) -> None:
    """Refuse a dataset one of whose locked files is missing or changed; call it before any of them is parsed.

    Raises:
        DataError: A file differs from the lock, or the lock is damaged.
    """
    place = _lock_place(data)
    locked = _locked(place)
    if locked is not None:
        _require_unchanged(data, place, locked)


def require_all_locked(data: Path, files: Iterable[Path]) -> None:
    """Refuse a dataset that is read from a file which its lock does not list, such as an added picture.

    Raises:
        DataError: There is one, or the lock is damaged.
    """
    place = _lock_place(data)
    locked = _locked(place)
    if locked is None:
        return
    _require_same_names(data, place, set(_names(place.parent, files)), set(locked))


def require_pictures_locked(folder: Path, pictures: Sequence[Path]) -> None:
    """Refuse pictures of a plain folder that a lock in it, or in a folder around it, does not have as they are.

    A lock that lists nothing in the folder is of other data. That of a manifest says nothing of pictures that the
    manifest does not list.

    Args:
        folder: Where they were looked for.
        pictures: All that were found in it.

    Raises:
        DataError: A locked picture is missing or changed, one was added, or a lock is damaged.
    """
    root = folder.resolve()
    for around in (root, *root.parents):
        for place in sorted({around / LOCK, *around.glob(f"*.{LOCK}")}):
            inside = root.relative_to(around)
            locked = {
                name: record for name, record in (_locked(place) or {}).items() if Path(name).is_relative_to(inside)
            }
            if not locked:
                continue
            if place.name == LOCK:
                found = {(inside / path.relative_to(folder)).as_posix() for path in pictures}
                _require_same_names(folder, place, found, set(locked))
            _require_unchanged(folder, place, locked)


def _require_unchanged(data: Path, place: Path, locked: Mapping[str, Mapping[str, object]]) -> None:
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = pool.map(lambda name: _difference(place.parent / name, locked[name]), locked)
        changed = {name: difference for name, difference in zip(locked, found, strict=True) if difference}
    if changed:
        first = next(iter(changed))
        raise DataError(
            f"{shortened(str(data), 30)} is not what {shortened(place.name, 40)} locked: {len(changed)} of "
            f"{len(locked)} files differ, first {shortened(first, 40)}, which {shortened(changed[first], 40)}; {_AGAIN}"
        )


def _require_same_names(data: Path, place: Path, found: set[str], locked: set[str]) -> None:
    if found != locked:
        added, lost = sorted(found - locked), sorted(locked - found)
        raise DataError(
            f"{shortened(str(data))} is not what {place.name} locked: {len(added)} files were added and {len(lost)} "
            f"are left out, such as {shortened((added or lost)[0])}; {_AGAIN}"
        )


def _names(folder: Path, files: Iterable[Path]) -> list[str]:
    """Names within the folder, as they are given, since a link may lead elsewhere; whole paths of files outside it."""
    return sorted({(path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix() for path in files})


def _locked(place: Path) -> Mapping[str, Mapping[str, object]] | None:
    if not place.exists() and not place.is_symlink():
        return None
    try:
        return _read(place)
    except (ConfigError, CorruptFileError) as error:
        raise DataError(f"the lock of the data cannot be used: {error}") from error


def _read(place: Path) -> Mapping[str, Mapping[str, object]]:
    value = read_json(place)
    if (value.get("format"), value.get("version")) != (_FORMAT, _VERSION):
        raise ConfigError(f"{place} is no {_FORMAT} of version {_VERSION}; move it away")
    files = unsealed(value, str(place)).get("files")
    if not isinstance(files, dict) or not all(
        isinstance(record, dict) and record.keys() == {"sha256", "bytes"} for record in files.values()
    ):
        raise CorruptFileError(f"{place} lists no files with digests; lock the data again")
    return files


def _difference(path: Path, record: Mapping[str, object]) -> str | None:
    try:
        found = _record(path)
    except DataError as error:
        return shortened(str(error))
    if found == record:
        return None
    if found["bytes"] != record["bytes"]:
        return f"has {found['bytes']} bytes, expected {shortened(str(record['bytes']))}"
    return "has other bytes of the same number"


def _record(path: Path) -> dict[str, object]:
    try:
        return {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    except CorruptFileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise_if_refused(path, error)
        raise DataError(f"cannot be read ({error.strerror or error})") from error
