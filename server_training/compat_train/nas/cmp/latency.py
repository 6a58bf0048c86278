"""Milliseconds of any member of a search space, from a table of blocks that a device measured; what a budget counts.

Every choice is measured. A block's time is no smooth function of its channels: engines compute in groups of 8 or 16,
and a depthwise convolution of 51 channels takes several times as long as one of 64 on ONNX Runtime.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import nn

from compat_sdk.profile.block_table import BlockTable, load_block_table
from compat_train.models.build import build_model
from compat_train.models.choice_block import build_block
from compat_train.models.layers import ConvBN, GlobalAveragePool
from compat_train.models.search_space import SCALES, BlockShape, Member, SearchSpace
from compat_train.nas.blocks import Block, BlockSpace, in_context, stem, summed, tail, with_contexts
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.cost import CostTable, cost_table
from compat_train.nas.cmp.sampling import MemberSampler

_NETWORKS_SEED = 17


def costs_of(config: CmpConfig, *, size: int, dim: int) -> CostTable:
    """What every choice costs in what a run's budgets are in: multiply-adds, or milliseconds by its table.

    Args:
        config: The whole run's.
        size: Side of the input in pixels.
        dim: Length of the embedding.

    Raises:
        CorruptFileError: The table is damaged.
        ConfigError: It is of other networks.
    """
    space, stem_stride = config.search_space, config.stem_stride
    if config.table is None:
        return cost_table(space, size=size, dim=dim, stem_stride=stem_stride)
    return latency_costs(space, load_block_table(config.table), size=size, dim=dim, stem_stride=stem_stride)


def settings_of(space: SearchSpace, size: int, dim: int, stem_stride: int) -> dict[str, object]:
    """What a table of blocks must be of."""
    return {"space": space.name, "size": size, "dim": dim, "stem_stride": stem_stride}


def _blocks_of(space: SearchSpace, size: int, dim: int, stem_stride: int) -> tuple[Block, ...]:
    """Every block that a device measures for a space.

    Args:
        space: The search space.
        size: Side of the input in pixels.
        dim: Length of the embedding.
        stem_stride: Stride of the first convolution.
    """
    sides = _sides(space, size, stem_stride)
    last = sides[-1]
    found = [stem(_stem_name(space, size, stem_stride), size, lambda: ConvBN(3, space.stem, 3, stride=stem_stride))]
    for shape, side in zip(space.blocks, sides, strict=False):
        for operation in space.operations:
            for scale in range(len(SCALES)):
                found.append(_measured(space, shape, operation, scale, side))
    found.append(
        tail(
            _tail_name(space, dim, last),
            space.widths[-1],
            last,
            lambda: (ConvBN(space.widths[-1], space.last), GlobalAveragePool(), nn.Linear(space.last, dim)),
        )
    )
    return with_contexts(found)


def block_space(space: SearchSpace, size: int, dim: int, stem_stride: int) -> BlockSpace:
    """A search space as a device measures it; whole networks are drawn evenly over all costs."""

    def networks(wanted: int) -> dict[str, dict[str, float]]:
        costs = cost_table(space, size=size, dim=dim, stem_stride=stem_stride)
        sampler, generator = MemberSampler(costs), np.random.default_rng(_NETWORKS_SEED)
        edges = np.linspace(costs.lowest, costs.highest, wanted + 1)
        members = [sampler.draw(generator, low, high) for low, high in pairwise(edges)]
        return {member.name: weights_of(member, size, dim, stem_stride) for member in members}

    return BlockSpace(
        settings_of(space, size, dim, stem_stride),
        size,
        _blocks_of(space, size, dim, stem_stride),
        networks,
        lambda arch: build_model(arch, dim=dim, stem_stride=stem_stride),
    )


def weights_of(member: Member, size: int, dim: int, stem_stride: int) -> dict[str, float]:
    """How often each measured block counts in a member."""
    space = member.space
    sides = _sides(space, size, stem_stride)
    parts = [{_stem_name(space, size, stem_stride): 1.0, _tail_name(space, dim, sides[-1]): 1.0}]
    for shape, side, operation, scale in zip(space.blocks, sides, member.operations, member.scales, strict=False):
        parts.append({_name(space, shape, space.operations[operation], scale, side): 1.0})
    return summed(*parts)


def latency_costs(space: SearchSpace, table: BlockTable, *, size: int, dim: int, stem_stride: int) -> CostTable:
    """What every choice takes by a table of blocks, in nanoseconds, as a table of costs whose unit is a millisecond.

    Raises:
        ConfigError: The table is of other networks, or lacks a block.
    """
    table.require(settings_of(space, size, dim, stem_stride))
    sides = _sides(space, size, stem_stride)
    ends = {_stem_name(space, size, stem_stride): 1.0, _tail_name(space, dim, sides[-1]): 1.0}
    choices = [
        [
            [table.milliseconds({_name(space, shape, operation, scale, side): 1.0}) for scale in range(len(SCALES))]
            for operation in space.operations
        ]
        for shape, side in zip(space.blocks, sides, strict=False)
    ]
    return CostTable(
        space, size, round(1e6 * table.milliseconds(ends)), np.rint(1e6 * np.array(choices)).astype(np.int64), "ms"
    )


def _sides(space: SearchSpace, size: int, stem_stride: int) -> list[int]:
    """Side of the input of every block, and of the last convolution."""
    sides = [-(-size // stem_stride)]
    for shape in space.blocks:
        sides.append(-(-sides[-1] // shape.stride))
    return sides


def _measured(space: SearchSpace, shape: BlockShape, operation: str, scale: int, side: int) -> Block:
    return in_context(
        _name(space, shape, operation, scale, side),
        shape.channels_in,
        side,
        lambda: build_block(operation, shape, space.hidden(shape, scale)),
    )


def _name(space: SearchSpace, shape: BlockShape, operation: str, scale: int, side: int) -> str:
    channels = f"{shape.channels_in}-{space.hidden(shape, scale)}-{shape.channels_out}"
    return f"{operation}:{channels}:s{shape.stride}@{side}"


def _stem_name(space: SearchSpace, size: int, stem_stride: int) -> str:
    return f"stem:{space.stem}:s{stem_stride}@{size}"


def _tail_name(space: SearchSpace, dim: int, side: int) -> str:
    return f"tail:{space.widths[-1]}-{space.last}-{dim}@{side}"
