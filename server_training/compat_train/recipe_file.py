"""A recipe's TOML file as nested tables, with the recipe that it extends under it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shortened, shown_value
from compat_train.config.toml import read_toml

_EXTENDS = "extends"


def read_tables(path: str | Path) -> dict[str, Any]:
    """The tables of a recipe; with ``extends`` they lie over those of another recipe in the same folder.

    A table lies over the other's table setting by setting, however deep; any other value takes its place.

    Raises:
        ConfigError: A file is no TOML, ``extends`` is no file name, or recipes extend each other in a circle.
    """
    return _read(Path(path), ())


def _read(path: Path, over: tuple[Path, ...]) -> dict[str, Any]:
    if path in over:
        circle = " extends ".join(each.name for each in (*over, path))
        raise ConfigError(f"{shortened(circle)}: expected recipes that end in one without extends")
    found = dict(read_toml(path))
    if _EXTENDS not in found:
        return found
    base = found.pop(_EXTENDS)
    if not isinstance(base, str) or Path(base).name != base or not base.endswith(".toml"):
        raise ConfigError(
            f"{path}: extends is {shown_value(base)}; expected the name of a recipe in the same folder, such as "
            f"'other.toml'"
        )
    return _laid(found, _read(path.with_name(base), (*over, path)))


def _laid(tables: Mapping[str, Any], under: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in tables.items():
        below = merged.get(name)
        merged[name] = _laid(value, below) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged
