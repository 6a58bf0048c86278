"""Members drawn uniformly within a range of multiply-adds.

Uniform draws from the whole space of CMP-NAS never come near its smallest tier: of 4,000 draws at 112 pixels none is
below 230 MMACs but for one in a thousand. Since a member's cost is a sum over blocks, the number of ways to reach each
total can be counted from the last block to the first, and a member drawn by following the counts forwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_train.models.search_space import SCALES, Member
from compat_train.nas.cmp.cost import CostTable

_STEPS = 2048


class MemberSampler:
    """Draws members uniformly among all those whose cost lies in a range.

    Costs are counted on a grid of 1/2048 of the space's span; a draw that rounding carried outside the range is
    repeated, so the range is kept exactly, and members at its very edges are drawn a little less often.
    """

    def __init__(self, costs: CostTable, *, scales: range = range(len(SCALES))) -> None:
        """Counts once; a draw then takes about a millisecond.

        Args:
            costs: Cost of every choice.
            scales: Positions in `SCALES` that may be drawn.
        """
        self.costs = costs
        self._scales = scales
        choices = costs.choices[:, :, scales.start : scales.stop]
        blocks = len(choices)
        flat = choices.reshape(blocks, -1)
        cheapest = flat.min(1)
        self.lowest = (costs.fixed + int(cheapest.sum())) / 1e6
        """What the cheapest member takes that may be drawn."""
        self.highest = (costs.fixed + int(flat.max(1).sum())) / 1e6
        """What the most expensive member takes that may be drawn."""
        span = max(int((flat.max(1) - cheapest).sum()), 1)
        self._grid = span / _STEPS
        self._steps = np.rint((flat - cheapest[:, None]) / self._grid).astype(np.int64)
        # ways[b, t]: in how many ways blocks b.. add up to t steps. Up to 40**20, which a float holds well enough.
        size = int(self._steps.max(1).sum()) + 1
        self._ways: NDArray[np.float64] = np.zeros((blocks + 1, size))
        self._ways[blocks, 0] = 1
        for block in range(blocks - 1, -1, -1):
            for step in self._steps[block]:
                self._ways[block, step:] += self._ways[block + 1, : size - step]

    def draw(self, generator: np.random.Generator, low: float, high: float) -> Member:
        """One member whose cost is in ``[low, high]``, in the unit of its costs.

        Raises:
            ConfigError: No member's cost lies there.
        """
        base = self.lowest * 1e6
        first = max(0, int((low * 1e6 - base) / self._grid) - 1)
        last = min(self._ways.shape[1] - 1, int((high * 1e6 - base) / self._grid) + 1)
        cumulative = np.cumsum(self._ways[0, first : last + 1]) if last >= first else np.zeros(0)
        if len(cumulative) and cumulative[-1] > 0:
            for _ in range(1000):
                total = first + int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
                member = self._walk(generator, min(total, last))
                if low <= self.costs.cost(member) <= high:
                    return member
        raise ConfigError(
            f"no member of {self.costs.space.name} takes {low:g} to {high:g} {self.costs.unit} at "
            f"{self.costs.size} pixels; they take {self.lowest:.4g} to {self.highest:.4g}"
        )

    def _walk(self, generator: np.random.Generator, total: int) -> Member:
        operations, scales = [], []
        for block, steps in enumerate(self._steps):
            rest = total - steps
            weights = np.where(rest >= 0, self._ways[block + 1, np.maximum(rest, 0)], 0.0)
            edges = np.cumsum(weights)
            choice = min(int(np.searchsorted(edges, generator.random() * edges[-1], side="right")), len(steps) - 1)
            operation, scale = divmod(choice, len(self._scales))
            operations.append(operation)
            scales.append(self._scales[scale])
            total -= int(steps[choice])
        return Member(self.costs.space, tuple(operations), tuple(scales))
