"""The fields of a model's record, refused where they are of another type, before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value
from compat_sdk.space import check_space

_KINDS = {
    **dict.fromkeys(("role", "arch", "method", "license"), (str,)),
    **dict.fromkeys(("dim", "stem_stride"), (int,)),
    "width": (float, int),
    "config": (dict,),
}
PLAIN = ("role", "arch", "dim", "width", "stem_stride", "method", "license", "config")
"""Fields that a record holds as they are."""


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields of other types than `Checkpoint` says, before anything is made of them.

    Raises:
        ConfigError: One is.
        KeyError: One is missing.
    """
    for name, kinds in _KINDS.items():
        if type(fields[name]) not in kinds:
            raise ConfigError(f"{name} is {shown_value(fields[name])}; expected {kinds[0].__name__}")
    for name in ("searches", "classes"):
        if not isinstance(fields[name], list) or not all(isinstance(item, str) for item in fields[name]):
            raise ConfigError(f"{name} is {shown_value(fields[name])}; expected a list of texts")
    for space in fields["searches"]:
        check_space(space)
    network = fields.get("network", {})
    if not isinstance(network, dict) or not all(type(value) in (int, float, str) for value in network.values()):
        raise ConfigError(f"network is {shown_value(network)}; expected numbers and texts by name")
