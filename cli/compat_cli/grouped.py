"""Options that several commands take together, declared once as the fields of a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses are given option by option.

    The command line sees the fields in the place of the parameter, each with its Typer option; the command gets them
    as one object. A parameter that no dataclass stands for stays as it is.

    Args:
        command: Takes its parameters by name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if is_dataclass(kind):
            groups[name] = kind
            own = get_type_hints(kind, include_extras=True)
            shown += [_option(each.name, own[each.name], each.default) for each in fields(kind)]
        else:
            shown.append(_option(name, kind, parameter.default))

    @functools.wraps(command)
    def told(**given: Any) -> None:
        made = {
            name: kind(**{each.name: given.pop(each.name) for each in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **made)

    told.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    told.__annotations__ = {each.name: each.annotation for each in shown}
    return told


def _option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    found = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=found, annotation=kind)
