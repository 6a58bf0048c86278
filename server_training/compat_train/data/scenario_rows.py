"""From a data scenario to the rows of a training split that it keeps."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import DataError
from compat_train.config.scenario import Scenario


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
            rows = [rows[place] for place in order[: _part(scenario.fraction, len(rows))].tolist()]
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


def _part(fraction: float, count: int) -> int:
    """A fraction of a count, rounded down as the paper's own counts are, and at least one; 0.3 of 10 is 3."""
    return max(1, math.floor(fraction * count + 1e-9))


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
        count = _part(scenario.class_fraction, len(chosen))
        if scenario.class_order == "random":
            order = np.random.default_rng(scenario.seed).permutation(len(chosen))
            chosen = [chosen[place] for place in sorted(order[:count].tolist())]
        else:
            chosen = chosen[:count]
    return chosen
