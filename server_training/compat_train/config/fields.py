"""What each setting is: its text, unit, choices and default, as fields of configuration dataclasses carry them.

A field says what it is in its metadata, once. Command-line options, their help and `compat-sdk settings` are made
from that.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from compat_train.config.checks import choices_of, hints_of, without_none

ValueT = TypeVar("ValueT")


def about(
    text: str, *, unit: str = "", otherwise: Any = None, added: bool = False, decides: bool = True
) -> dict[str, Any]:
    """Metadata of a field.

    Args:
        text: What the setting is, without its unit, its default and its choices.
        unit: What a number counts or measures.
        otherwise: What stands for None: words, a value, or a mapping from the name of a method to either.
        added: The field came later; see `config_to_json`.
        decides: The result depends on it. What does not is no part of a run's record, and may change at a resumption.
    """
    return {"help": text, "unit": unit, "otherwise": otherwise, "added": added, "decides": decides}


def setting(
    default: ValueT,
    text: str,
    *,
    unit: str = "",
    otherwise: Any = None,
    added: bool = False,
    decides: bool = True,
) -> ValueT:
    """A field with a default, and `about` as its metadata."""
    metadata = about(text, unit=unit, otherwise=otherwise, added=added, decides=decides)
    found: ValueT = field(default=default, metadata=metadata)
    return found


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One value that a configuration takes.

    Attributes:
        key: Dotted place, such as ``optimisation.lr``.
        kind: Its type, without None.
        default: The value where none is given; None also where there is none.
        required: Whether it must be given.
        text: What it is.
        unit: What a number counts or measures; empty where nothing.
        otherwise: What stands for a default of None; see `about`.
    """

    key: str
    kind: Any
    default: Any
    required: bool
    text: str
    unit: str
    otherwise: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """Values it may have; empty where its type or a range says so."""
        return choices_of(self.kind)

    @property
    def several(self) -> bool:
        """Whether it is a list of values."""
        return typing.get_origin(self.kind) is tuple

    @property
    def single(self) -> type[Any] | None:
        """Type of the value, or of each value of a list: bool, int, float or str; None for a table."""
        if self.choices:
            return str
        kind = typing.get_args(self.kind)[0] if self.several else self.kind
        return kind if isinstance(kind, type) else None

    @property
    def type_text(self) -> str:
        """Its type in words, or its choices."""
        if self.choices:
            return "|".join(self.choices)
        words = {bool: "true|false", int: "integer", float: "number", str: "text"}
        if self.single is None:
            return "table of numbers"
        return f"list of {words[self.single]}s" if self.several else words[self.single]

    @property
    def default_text(self) -> str:
        """What it is where it is not given."""
        if self.required:
            return "required"
        if self.default is None and self.otherwise is not None:
            return _otherwise_text(self.otherwise)
        return _text(self.default)


def settings_of(kind: type[Any]) -> tuple[Setting, ...]:
    """Every setting of a configuration, tables inside tables included, in the order of the fields."""
    return tuple(_leaves(kind, "", None, None, needed=True))


def tables_of(kind: type[Any]) -> tuple[str, ...]:
    """Dotted place of every table of a configuration."""
    found = []
    for name, hint in hints_of(kind).items():
        inner = without_none(hint)
        if is_dataclass(inner):
            found += [name, *(f"{name}.{below}" for below in tables_of(typing.cast(type[Any], inner)))]
    return tuple(found)


def _leaves(kind: type[Any], where: str, owner: Any, otherwise: Any, *, needed: bool) -> typing.Iterator[Setting]:
    """Settings of a table whose owner's default is ``owner``, or ``otherwise`` where that is None.

    Nothing of a table that may be left out is required, nor there by itself.
    """
    hints = hints_of(kind)
    for entry in fields(kind):
        inner, told = without_none(hints[entry.name]), entry.metadata.get("otherwise")
        default = entry.default
        if default is MISSING and entry.default_factory is not MISSING:
            default = entry.default_factory()
        if owner is not None:
            default = getattr(owner, entry.name)
        elif otherwise is not None:
            default, told = None, _part(otherwise, entry.name)
        if not needed and default not in (MISSING, None) and not is_dataclass(inner):
            default, told = None, default
        required = needed and default is MISSING and not is_dataclass(inner)
        if is_dataclass(inner):
            table = None if default is MISSING else default
            yield from _leaves(
                typing.cast(type[Any], inner),
                f"{where}{entry.name}.",
                table,
                told,
                needed=needed and default is not None,
            )
            continue
        yield Setting(
            key=where + entry.name,
            kind=inner,
            default=None if default is MISSING else default,
            required=required,
            text=entry.metadata.get("help", ""),
            unit=entry.metadata.get("unit", ""),
            otherwise=told,
        )


def _part(otherwise: Any, name: str) -> Any:
    """What ``otherwise`` of a table says of one of its fields; one value where all methods have the same."""
    if not isinstance(otherwise, Mapping):
        return getattr(otherwise, name) if is_dataclass(otherwise) else otherwise
    parts = {method: _part(value, name) for method, value in otherwise.items()}
    first = next(iter(parts.values()))
    return first if all(part == first for part in parts.values()) else parts


def _otherwise_text(otherwise: Any) -> str:
    if not isinstance(otherwise, Mapping):
        return otherwise if isinstance(otherwise, str) else _text(otherwise)
    methods: dict[str, list[str]] = {}
    for method, value in otherwise.items():
        methods.setdefault(value if isinstance(value, str) else _text(value), []).append(method)
    if len(methods) == 1:
        return next(iter(methods))
    parts = [f"{value} for {', '.join(names)}" for value, names in methods.items()]
    longest = max(methods, key=lambda value: len(methods[value]))
    if len(methods[longest]) > 2:
        parts = [f"{value} for {', '.join(names)}" for value, names in methods.items() if value != longest]
        parts.append(f"{longest} otherwise")
    return "; ".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None or value == {} else str(value)
