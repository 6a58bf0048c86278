"""JSON and TOML that every reader understands alike: strict where it is read, in one form where it is written."""

from __future__ import annotations

import json
import math
import os
import tomllib
from itertools import chain

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.plain import LARGEST, read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

_DEEPEST = 32  # levels of nesting in a JSON or TOML file


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


def parse_json(data: bytes, name: str) -> dict[str, object]:
    """Parse a JSON object, refusing what two readers could understand differently.

    Args:
        data: UTF-8 bytes.
        name: What to call the file in an error.

    Raises:
        CorruptFileError: More than 64 MiB, not UTF-8, not JSON, not an object, a key that occurs twice, or what
            `check_plain` refuses.
    """
    if len(data) > LARGEST:
        raise CorruptFileError(f"{name} has {len(data)} bytes of JSON, expected at most {LARGEST}; restore it")
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
        data: UTF-8 bytes, with or without a byte-order mark: people write such files, with editors that add one.
        name: What to call the file in an error.

    Raises:
        CorruptFileError: Not UTF-8, not TOML, or what `check_plain` refuses.
    """
    try:
        found = tomllib.loads(data.decode("utf-8-sig"))
        check_plain(found)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{name} is not a TOML file: {shortened(str(error), 120)}") from error
    return found


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


def _check_leaf(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it holds {value}, which is not a finite number")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("it holds a number of more than 64 bits")
    if isinstance(value, str):
        value.encode()  # halves of surrogate pairs


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


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
