"""Checks of single values, with errors that name the setting."""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Literal

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value

if TYPE_CHECKING:
    from compat_sdk.metrics import Metric


def check_range(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuses, with a ConfigError, what is not finite, outside ``[low, high]``, or at ``low`` with ``open_low``."""
    finite = -math.inf < value < math.inf
    if not (finite and (low < value if open_low else low <= value) and value <= high):
        bound = f"above {low:g}" if open_low else f"at least {low:g}"
        upper = "" if high == math.inf else f" and at most {high:g}"
        text = f"{name} is {shown_value(value)}; expected {'' if finite else 'a finite number '}{bound}{upper}"
        raise ConfigError(text, setting=name)


def check_metric(name: str, text: str) -> Metric:
    """The metric of a name; refuses, with a ConfigError, a name of none."""
    from compat_sdk.metrics import Metric  # which loads numpy, and what lists settings does not

    try:
        return Metric.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}", setting=name) from None


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses, with a ConfigError, a value that is not among ``allowed``."""
    if value not in allowed:
        raise ConfigError(f"{name} is {shown_value(value)}; expected one of {', '.join(allowed)}", setting=name)


def check_device(name: str, value: str) -> None:
    """Refuses, with a ConfigError, what is neither ``auto``, ``cpu`` nor ``cuda``, nor a GPU such as ``cuda:1``."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
        raise ConfigError(
            f"{name} is {shown_value(value)}; expected one of auto, cpu, cuda, or a GPU's number, as in cuda:1",
            setting=name,
        )


def check_choices(config: Any) -> None:
    """Refuses, with a ConfigError, a value of any `Literal` field that is none of its choices."""
    for name, hint in hints_of(type(config)).items():
        if (choices := choices_of(hint)) and (value := getattr(config, name)) is not None:
            check_choice(name, value, choices)


def choices_of(hint: Any) -> tuple[str, ...]:
    """The choices of a `Literal`, optional or not; empty for another type."""
    kind = without_none(hint)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def without_none(hint: Any) -> Any:
    """The type that an optional type allows beside None; another type as it is."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(option for option in typing.get_args(hint) if option is not type(None))
    return hint


def hints_of(kind: type[Any]) -> dict[str, Any]:
    """Type of each field of a dataclass, resolved."""
    key: Any = kind
    return _hints(key)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
