"""TOML as recipes and ``--config`` files have it: a plain file of a modest size, and plain values in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import parse_toml
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused

_LARGEST = 1 << 20


def read_toml(path: str | Path, name: str = "") -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
        path: At most 1 MiB of UTF-8.
        name: What to call it in an error; by default its path.

    Raises:
        ConfigError: It is no plain file, too large, no TOML, is not there, or has values that
            `check_plain` refuses.
        SystemRefusedError: The system refused to read it.
    """
    shown = name or str(path)
    try:
        return parse_toml(read_plain(path, _LARGEST), shown)
    except CorruptFileError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise_if_refused(path, error)
        raise ConfigError(f"cannot read {shown}: {error.strerror or error}; check the path") from error
