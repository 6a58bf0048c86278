"""From dataclasses to plain values and back, with errors that name the place, and the checks of single values."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

from compat_sdk.errors import ConfigError

ConfigT = TypeVar("ConfigT")
ADDED: Mapping[str, Any] = {"added": True}  # of a field that came later; see `config_to_json`


def check_range(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuses, with a ConfigError, what is not finite, outside ``[low, high]``, or at ``low`` with ``open_low``."""
    finite = -math.inf < value < math.inf
    if not (finite and (low < value if open_low else low <= value) and value <= high):
        bound = f"above {low:g}" if open_low else f"at least {low:g}"
        upper = "" if high == math.inf else f" and at most {high:g}"
        raise ConfigError(f"{name} is {value!r}; expected {'' if finite else 'a finite number '}{bound}{upper}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses, with a ConfigError, a value that is not among ``allowed``."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def config_to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values, nested as its dataclasses are.

    A field marked `ADDED` is left out at its default, so that a run of an earlier version is still the same run.
    """
    return {
        entry.name: config_to_json(value) if is_dataclass(value) else value
        for entry in fields(config)
        if (value := getattr(config, entry.name)) != entry.default or not entry.metadata.get("added")
    }


def changed_settings(saved: object, wanted: Mapping[str, Any]) -> str:
    """What differs between settings in a file and those of now, tables compared entry by entry; empty: nothing does.

    Args:
        saved: JSON values.
        wanted: Values that JSON can hold.
    """
    return "; ".join(_changes(saved, json.loads(json.dumps(wanted))))


def config_from_mapping(kind: type[ConfigT], values: Mapping[str, Any], where: str = "") -> ConfigT:
    """A configuration from nested mappings, such as a TOML recipe.

    Args:
        kind: One of the configuration dataclasses.
        values: Field values; lists become tuples. Missing fields keep their defaults.
        where: Dotted place of ``values``, for messages.

    Raises:
        ConfigError: A field is unknown, missing or of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(where + name for name in unknown)}; known here: {', '.join(known)}"
        )
    missing = [
        name
        for name, entry in known.items()
        if name not in values and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"missing setting {', '.join(where + name for name in missing)}")
    return kind(**{name: _convert(hints[name], value, where + name) for name, value in values.items()})


def _changes(saved: Any, wanted: Any, where: str = "") -> list[str]:
    if isinstance(saved, dict) or isinstance(wanted, dict):
        before, now = ({} if side is None else side for side in (saved, wanted))
        if isinstance(before, dict) and isinstance(now, dict):
            return [
                change
                for name in sorted(before.keys() | now.keys())
                for change in _changes(before.get(name), now.get(name), f"{where}.{name}".lstrip("."))
            ]
    if saved == wanted:
        return []
    before, now = ("not set" if side is None else repr(side) for side in (saved, wanted))
    return [f"{where or 'the settings'} was {before} and is now {now}"]


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected a table of settings")
        return config_from_mapping(typing.cast(type[Any], hint), value, where + ".")
    origin = typing.get_origin(hint)
    if origin is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, entry, where) for entry in value)
    if origin is Literal:
        check_choice(where, value, typing.get_args(hint))
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"{where} is {value!r}; expected {hint.__name__}")
    return value
