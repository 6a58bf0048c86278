"""Which rows a search may find: conditions on ids, labels and payload, the same for every store."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Where:
    """Conditions that a row must meet, every one of those that are given.

    Attributes:
        labels: The row's label is one of these; ``""`` stands for no label.
        ids: The row's id is one of these.
        payload: Each of these fields has that value, or one of those values; where the row has a list, one of its
            items. ``True`` is no number; a whole number equals none that is written with a point, unless it is
            itself written so.

    Raises:
        ConfigError: A condition is of another form.
    """

    labels: Collection[str] | None = None
    ids: Collection[str] | None = None
    payload: Mapping[str, Scalar | Collection[Scalar]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, told in (("labels", self.labels), ("ids", self.ids)):
            if isinstance(told, str) or not all(isinstance(value, str) for value in told or ()):
                raise ConfigError(f"{name} is {shown_value(told)}; expected several texts, such as a list")
        for key in self.payload:
            if not isinstance(key, str) or not key or '"' in key:
                raise ConfigError(f"{shown_value(key)} names no field of a payload; expected a text without quotes")
            if not all(isinstance(value, Scalar) for value in self.values(key)):
                raise ConfigError(
                    f"the field {key} is to be {shown_value(self.payload[key])}; expected texts, numbers, True, False"
                )

    def values(self, key: str) -> tuple[Scalar, ...]:
        """What a field of the payload may be."""
        told = self.payload[key]
        return (told,) if isinstance(told, Scalar) else tuple(told)

    def takes_payload(self, payload: Mapping[str, object]) -> bool:
        """Whether a row's payload meets the conditions on it."""
        return all(
            any(_equal(value, item) for value in self.values(key) for item in _items(payload.get(key)))
            for key in self.payload
        )


def _items(found: object) -> list[object]:
    return found if isinstance(found, list) else [found]


def _equal(wanted: Scalar, found: object) -> bool:
    if isinstance(wanted, float):
        return isinstance(found, int | float) and not isinstance(found, bool) and found == wanted
    return type(found) is type(wanted) and found == wanted
