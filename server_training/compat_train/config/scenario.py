"""The data scenarios of the papers: which part of a training split the old or the new model sees."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_train.config.settings import check_choice, check_range


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Which part of a training split a run sees: the old or the new model's share of the data.

    Extended data (seed 003): the old model with ``fraction`` 0.3, the new one with everything. Open data: the old one
    with ``fraction`` 0.3, the new one with the same and ``complement``. Extended class: ``class_fraction`` 0.3 with
    ``class_order`` random. Class ranges (seed 001): ``classes`` "0-499". A smaller fraction is a subset of a larger
    one with the same seed. Numbers of classes count in the sorted list of class names, where "10" is before "9".
    """

    classes: str | None = None  # ranges of classes from 0, ends included, such as "0-499" or "0-9,20-29"
    class_fraction: float = 1.0  # of the classes that are left
    class_order: Literal["first", "random"] = "first"  # which ones class_fraction takes
    fraction: float = 1.0  # of each class's images, drawn at random, at least one
    complement: bool = False  # the images that the same scenario without it leaves out
    seed: int = 0  # of the draws

    def __post_init__(self) -> None:
        check_range("scenario.class_fraction", self.class_fraction, 0, 1, open_low=True)
        check_range("scenario.fraction", self.fraction, 0, 1, open_low=True)
        check_range("scenario.seed", self.seed, 0)
        check_choice("scenario.class_order", self.class_order, ("first", "random"))
        for first, last in self.class_ranges or ():
            if first > last:
                raise ConfigError(f"scenario.classes has the range {first}-{last}; expected the smaller number first")

    @property
    def class_ranges(self) -> tuple[tuple[int, int], ...] | None:
        """First and last number of each range of ``classes``; None where there is no such limit."""
        if self.classes is None:
            return None
        parts = [part.strip() for part in self.classes.split(",")]
        if not all(re.fullmatch(r"\d+(-\d+)?", part) for part in parts):
            raise ConfigError(
                f"scenario.classes is {self.classes!r}; expected ranges of class numbers such as '0-499' or '0-9,20-29'"
            )
        ends = [[int(number) for number in part.split("-")] for part in parts]
        return tuple((numbers[0], numbers[-1]) for numbers in ends)

    @property
    def everything(self) -> bool:
        """Whether it leaves the split as it is."""
        return self.classes is None and self.class_fraction == self.fraction == 1.0 and not self.complement


def scenario_rows(scenario: Scenario, labels: Sequence[str]) -> NDArray[np.int64]:
    """Rows of a split that a scenario keeps, in their order.

    Each class draws from a generator of its own, which depends on the seed and the class's name alone: another
    dataset, or classes that come and go, change nothing for the others.

    Source: Zhang et al., DMU, https://arxiv.org/abs/2210.06954, appendix A (extended data, open data, extended
    class); Ramanujan et al., FCT, https://arxiv.org/abs/2112.02805, section 5 (the first classes of a list).

    Args:
        scenario: Ranges of classes, fractions and seed.
        labels: Class name of each row.

    Returns:
        int64, rising, at least one.

    Raises:
        DataError: A range names classes that are not there, or nothing is left.
    """
    names = sorted(set(labels))
    chosen = _chosen_classes(scenario, names)
    of_class: dict[str, list[int]] = {name: [] for name in names}
    for row, label in enumerate(labels):
        of_class[label].append(row)
    kept: list[int] = []
    for name in chosen:
        rows = of_class[name]
        if scenario.fraction < 1.0:
            order = np.random.default_rng((scenario.seed, zlib.crc32(name.encode()))).permutation(len(rows))
            rows = [rows[place] for place in order[: max(1, round(scenario.fraction * len(rows)))].tolist()]
        kept.extend(rows)
    found = np.sort(np.array(kept, np.int64))
    if scenario.complement:
        found = np.setdiff1d(np.arange(len(labels), dtype=np.int64), found)
    if not len(found):
        raise DataError(
            f"the scenario leaves none of {len(labels)} images in {len(names)} classes ({scenario}); widen its classes "
            f"or fractions" + (", or leave complement out" if scenario.complement else "")
        )
    return found


def _chosen_classes(scenario: Scenario, names: Sequence[str]) -> list[str]:
    chosen = list(names)
    ranges = scenario.class_ranges
    if ranges is not None:
        last = max(end for _, end in ranges)
        if last >= len(names):
            raise DataError(
                f"scenario.classes is {scenario.classes!r}, but the training split has {len(names)} classes; expected "
                f"numbers from 0 to {len(names) - 1}"
            )
        wanted = {number for first, end in ranges for number in range(first, end + 1)}
        chosen = [name for number, name in enumerate(names) if number in wanted]
    if scenario.class_fraction < 1.0:
        count = max(1, round(scenario.class_fraction * len(chosen)))
        if scenario.class_order == "random":
            order = np.random.default_rng(scenario.seed).permutation(len(chosen))
            chosen = [chosen[place] for place in sorted(order[:count].tolist())]
        else:
            chosen = chosen[:count]
    return chosen
