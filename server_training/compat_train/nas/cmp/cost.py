"""What any member of a search space costs, from a table: its multiply-adds exactly, or milliseconds as measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compat_train.models.choice_block import build_block
from compat_train.models.layers import ConvBN
from compat_train.models.search_space import SCALES, BlockShape, Member, SearchSpace


@dataclass(frozen=True, eq=False)
class CostTable:
    """What each choice costs. A member's cost is `fixed` and one entry of `choices` per block, nothing else.

    Attributes:
        space: The search space.
        size: Side of the input in pixels.
        fixed: Multiply-adds of stem, last convolution and embedding; or nanoseconds.
        choices: int64 ``[blocks, operations, scales]``: multiply-adds of each choice; or nanoseconds.
        unit: What a million of them is: ``"MMACs"`` or ``"ms"``.
    """

    space: SearchSpace
    size: int
    fixed: int
    choices: NDArray[np.int64]
    unit: Literal["MMACs", "ms"] = "MMACs"

    def cost(self, member: Member) -> float:
        """Of a member for one image, in `unit`; MMACs are equal to `count_cost`'s."""
        blocks = range(len(member.operations))
        return (self.fixed + int(self.choices[blocks, member.operations, member.scales].sum())) / 1e6

    @property
    def lowest(self) -> float:
        """Of the cheapest member, in `unit`."""
        return (self.fixed + int(self.choices.min((1, 2)).sum())) / 1e6

    @property
    def highest(self) -> float:
        """Of the most expensive member, in `unit`."""
        return (self.fixed + int(self.choices.max((1, 2)).sum())) / 1e6


@lru_cache(maxsize=8)
def cost_table(space: SearchSpace, *, size: int, dim: int = 128, stem_stride: int = 1) -> CostTable:
    """The cost of every choice of a space, by the convention of `compat_train.models.cost` (batch norm counts nothing).

    Args:
        space: The search space.
        size: Side of the input in pixels.
        dim: Length of the embedding.
        stem_stride: Stride of the first convolution.
    """
    side = -(-size // stem_stride)
    fixed = 3 * 9 * space.stem * side**2
    rows = []
    known: dict[tuple[BlockShape, int], NDArray[np.int64]] = {}
    for shape in space.blocks:
        if (shape, side) not in known:
            known[shape, side] = _block_costs(space, shape, side)
        rows.append(known[shape, side])
        side = -(-side // shape.stride)
    fixed += space.widths[-1] * space.last * side**2 + space.last * dim
    return CostTable(space, size, fixed, np.stack(rows))


def _block_costs(space: SearchSpace, shape: BlockShape, side: int) -> NDArray[np.int64]:
    return np.array(
        [
            [
                _multiply_adds(_convolutions(operation, shape, space.hidden(shape, scale)), side)
                for scale in range(len(SCALES))
            ]
            for operation in space.operations
        ],
        np.int64,
    )


@lru_cache(maxsize=4096)
def _convolutions(operation: str, shape: BlockShape, hidden: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Stride and number of weights of each convolution, by the paths through a block: the same for every size."""
    with torch.device("meta"):
        block = build_block(operation, shape, hidden)
    return tuple(
        tuple(
            (_of(layer).stride[0], _of(layer).weight.numel()) for layer in path.modules() if isinstance(layer, ConvBN)
        )
        for path in block.children()
    )


def _of(layer: ConvBN) -> nn.Conv2d:
    conv = layer[0]
    assert isinstance(conv, nn.Conv2d)
    return conv


def _multiply_adds(paths: tuple[tuple[tuple[int, int], ...], ...], side: int) -> int:
    """Of a block whose input has this side: every weight of a convolution meets every pixel of its output once."""
    total = 0
    for path in paths:
        here = side
        for stride, weights in path:
            here = -(-here // stride)
            total += weights * here**2
    return total
