"""The fields of a dataclass, as a JSON object has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compat_sdk.errors import ConfigError


def exact_fields(value: object, kind: type[Any], what: str) -> dict[str, Any]:
    """Return a JSON object that has every field of a dataclass and no other; their values are not looked at.

    A field whose metadata says that it was ``added`` after the first release may be missing.

    Args:
        value: What was parsed.
        kind: The dataclass.
        what: What to call the object in an error.

    Raises:
        ConfigError: It is no object, or a field is missing or unknown.
    """
    expected = {item.name for item in dataclasses.fields(kind)}
    needed = {item.name for item in dataclasses.fields(kind) if not item.metadata.get("added")}
    if not isinstance(value, Mapping) or not needed <= set(value) <= expected:
        found = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ConfigError(f"{what} has the fields {found}; expected exactly {sorted(expected)}")
    return dict(value)
