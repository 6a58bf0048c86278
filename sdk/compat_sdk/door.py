"""The door of a package: its public names, each loaded from its module when it is first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def door(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return what a package needs to load its names late: its ``__getattr__`` and its ``__dir__`` (PEP 562).

    Args:
        package: Its ``__name__``.
        homes: Module of each name that is loaded late, relative to the package. Both functions raise AttributeError,
            as Python expects, for any other name.
    """

    def getattribute(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getattribute, names
