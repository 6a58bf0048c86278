"""From dataclasses to plain values and back: what is told, what is saved, and what differs between the two."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from compat_sdk.errors import ConfigError
from compat_sdk.shown import as_unicode, shortened, shown_value
from compat_train.config.checks import check_choice, hints_of, without_none

ConfigT = TypeVar("ConfigT")


def config_to_json(config: Any, *, whole: bool = False) -> dict[str, Any]:
    """A configuration as plain JSON values, nested as its dataclasses are; `config_from_json` reads them back.

    A field that is `about(added=True)` is left out at its default, so that a run of an earlier version is still the
    same run; one that is `about(decides=False)` always.

    Args:
        config: One of the configuration dataclasses.
        whole: Leave nothing out.

    Raises:
        ConfigError: A path is no valid UTF-8.
    """
    for entry in fields(config):
        _require_unicode(entry.name, getattr(config, entry.name))
    return {
        entry.name: config_to_json(value, whole=whole) if is_dataclass(value) else value
        for entry in fields(config)
        if _is_recorded(entry, value := getattr(config, entry.name)) or whole
    }


def config_from_json(kind: type[ConfigT], values: Mapping[str, Any], where: str = "") -> ConfigT:
    """A configuration that `config_to_json` wrote; what is missing is what its dataclass has by itself.

    Args:
        kind: One of the configuration dataclasses.
        values: Field values; lists become tuples.
        where: Dotted place of ``values``, for messages.

    Raises:
        ConfigError: A field is unknown, missing or of the wrong type.
    """
    return _read(kind, values, where, {}, told=False)


def config_from_mapping(
    kind: type[ConfigT], values: Mapping[str, Any], where: str = "", *, defaults: Mapping[str, Any] | None = None
) -> ConfigT:
    """A configuration from what a user tells in nested mappings, such as a TOML recipe.

    A table that tells a part of its settings lies over the default that its owner has for it, however deep: the rest
    is never what the table's own dataclass would have by itself. Where that default depends on other settings, the
    owner's ``defaults_for(values)`` says it; where it depends on another run, the caller does. What was told and would
    be ignored is refused by the configuration's ``refuse_ignored(values)``.

    Args:
        kind: One of the configuration dataclasses.
        values: Field values; lists become tuples.
        where: Dotted place of ``values``, for messages.
        defaults: Values by field that stand in place of the dataclass's own defaults.

    Raises:
        ConfigError: A field is unknown, missing, of the wrong type or out of its range, or would be ignored.
    """
    return _read(kind, values, where, defaults or {}, told=True)


def changed_settings(saved: object, wanted: Mapping[str, Any]) -> str:
    """What differs between settings in a file and those of now, tables compared entry by entry; empty: nothing does.

    It goes into an error, and so is shortened to 120 characters.

    Args:
        saved: JSON values.
        wanted: Values that JSON can hold.
    """
    return shortened("; ".join(_changes(saved, json.loads(json.dumps(wanted)))), 120)


def _read(
    kind: type[ConfigT], values: Mapping[str, Any], where: str, defaults: Mapping[str, Any], *, told: bool
) -> ConfigT:
    hints = hints_of(kind)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            f"unknown setting {shortened(', '.join(where + name for name in unknown))}; "
            f"known here: {shortened(', '.join(known), 160)}"
        )
    if told and (defaults_for := getattr(kind, "defaults_for", None)) is not None:
        try:
            defaults = {**defaults_for(values), **defaults}
        except ConfigError as error:
            raise error.within(where) from None
    found = dict(defaults)
    for name, value in values.items():
        default = defaults[name] if name in defaults else _default_of(known[name])
        found[name] = _convert(hints[name], value, where + name, default, told=told)
    missing = [
        name
        for name, entry in known.items()
        if name not in found and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"missing setting {', '.join(where + name for name in missing)}")
    try:
        config = kind(**found)
        if told and hasattr(config, "refuse_ignored"):
            config.refuse_ignored(values)
    except ConfigError as error:
        raise error.within(where) from None
    return config


def _is_recorded(entry: Field[Any], value: Any) -> bool:
    return entry.metadata.get("decides", True) and (value != entry.default or not entry.metadata.get("added"))


def _default_of(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _convert(hint: Any, value: Any, where: str, default: Any = MISSING, *, told: bool = True) -> Any:
    """A plain value as the type of its field wants it; ``default`` is what a partial table lies over."""
    kind = without_none(hint)
    if value is None and kind is not hint:
        return None
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {shown_value(value)}; expected a table of settings", setting=where)
        kind = typing.cast(type[Any], kind)
        # A table that was whole before a field came still is.
        of_old = [entry.name for entry in fields(kind) if not entry.metadata.get("added")]
        if told and default is None and (left := [name for name in of_old if name not in value]):
            raise ConfigError(
                f"{where} leaves out {', '.join(left)}, and what they are otherwise is not known here; set them too",
                setting=where,
            )
        laid = {entry.name: getattr(default, entry.name) for entry in fields(kind)} if is_dataclass(default) else {}
        return _read(kind, value, where + ".", laid if told else {}, told=told)
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(kind)[0]
        return tuple(_convert(inner, entry, where) for entry in value)
    if origin is Literal:
        check_choice(where, value, typing.get_args(kind))
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is Mapping and not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {shown_value(value)}; expected a table", setting=where)
    if origin is Mapping:
        inner = typing.get_args(kind)[1]
        return {name: _convert(inner, entry, f"{where}.{name}") for name, entry in value.items()}
    if origin is tuple:
        raise ConfigError(f"{where} is {shown_value(value)}; expected a list", setting=where)
    if isinstance(kind, type) and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"{where} is {shown_value(value)}; expected {kind.__name__}", setting=where)
    _require_unicode(where, value)
    return value


def _require_unicode(name: str, value: object) -> None:
    """Refuse, before anything is trained, a path that no record of a run could hold; of a tuple, any of them."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and as_unicode(text) != text:
            raise ConfigError(
                f"{name} is {shown_value(text)}, which is no valid UTF-8, so that no record could hold it; rename it, "
                f"or make a link with another name",
                setting=name,
            )


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
