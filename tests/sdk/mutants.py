"""Parsed documents with one value replaced by one of another type, as no writer would leave it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compat_sdk.errors import CompatError

_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    1.5,
    1e308,
    "",
    "../up\n\x1b[2J",
    "x" * 5000,
    [],
    [[]],
    [3, None],
    {},
    {"a": {"b": 1}},
)


def mutants(value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the document with every value in turn replaced by each odd one, and left out; with where that was."""
    for place in list(_places(value)):
        for odd in (*_ODD, _ODD):
            changed = copy.deepcopy(value)
            holder: Any = changed
            for step in place[:-1]:
                holder = holder[step]
            if odd is _ODD:
                del holder[place[-1]]
            else:
                holder[place[-1]] = odd
            yield f"{'.'.join(map(str, place))} = {str(odd)[:30]!r}", changed


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from _places(inner, (*above, key))


def faults(value: dict[str, Any], read: Callable[[dict[str, Any]], object], folder: Path) -> list[str]:
    """What goes wrong where mutants are read: anything but success, or a typed error of one short line.

    Args:
        value: A sound document.
        read: Writes it where it belongs, and reads it.
        folder: Left out of an error's length, as it may be of any.
    """
    found = []
    for where, mutant in mutants(value):
        try:
            read(mutant)
        except CompatError as error:
            said = str(error).replace(str(folder), "")
            if len(said) > 300 or not said.isprintable():
                found.append(f"{where}: {len(said)} characters: {said[:600]!r}")
        except Exception as error:
            found.append(f"{where}: {type(error).__name__}: {str(error)[:200]}")
    return found
