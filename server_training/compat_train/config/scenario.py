"""The data scenarios of the papers: which part of a training split the old or the new model sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shortened
from compat_train.config.checks import check_choices, check_range
from compat_train.config.fields import setting


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Which part of a training split a run sees: the old or the new model's share of the data.

    Extended data (DMU): the old model with ``fraction`` 0.3, the new one with everything. Open data: the old one
    with ``fraction`` 0.3, the new one with the same and ``complement``. Extended class: ``class_fraction`` 0.3 with
    ``class_order`` random. Class ranges (FCT): ``classes`` "0-499". A smaller fraction is a subset of a larger
    one with the same seed. Numbers of classes count in the sorted list of class names, where "10" is before "9".
    """

    classes: str | None = setting(
        None, "ranges of classes, ends included, such as '0-499' or '0-9,20-29'", otherwise="all of them"
    )
    class_fraction: float = setting(1.0, "fraction of the classes that are left", unit="fraction")
    class_order: Literal["first", "random"] = setting("first", "which classes class_fraction takes")
    fraction: float = setting(1.0, "fraction of each class's images, drawn at random, at least one", unit="fraction")
    complement: bool = setting(False, "take the images that the same scenario without it leaves out")
    seed: int = setting(0, "seed of the scenario's draws")

    def __post_init__(self) -> None:
        check_choices(self)
        check_range("class_fraction", self.class_fraction, 0, 1, open_low=True)
        check_range("fraction", self.fraction, 0, 1, open_low=True)
        check_range("seed", self.seed, 0)
        for first, last in self.class_ranges or ():
            if first > last:
                raise ConfigError(
                    f"classes is {self.classes!r}, with the range {first}-{last}; expected the smaller number first",
                    setting="classes",
                )

    @property
    def class_ranges(self) -> tuple[tuple[int, int], ...] | None:
        """First and last number of each range of ``classes``; None where there is no such limit."""
        if self.classes is None:
            return None
        parts = [part.strip() for part in self.classes.split(",")]
        if not all(re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})?", part) for part in parts):
            raise ConfigError(
                f"classes is {shortened(repr(self.classes))}; expected ranges of class numbers such as '0-499' "
                f"or '0-9,20-29'",
                setting="classes",
            )
        ends = [[int(number) for number in part.split("-")] for part in parts]
        return tuple((numbers[0], numbers[-1]) for numbers in ends)

    @property
    def of_classes(self) -> bool:
        """Whether it chooses by class, which images without labels do not have."""
        return self.classes is not None or self.class_fraction != 1.0

    @property
    def everything(self) -> bool:
        """Whether it leaves the split as it is."""
        return self.classes is None and self.class_fraction == self.fraction == 1.0 and not self.complement
