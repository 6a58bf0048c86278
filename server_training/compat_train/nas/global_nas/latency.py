"""Milliseconds of any network of a global search, from a table of blocks that a device measured.

Layers of every width of the bounds are measured. The micro search also comes to widths between two of them, whose
layers take what lies between. Of a shortcut, its projection counts; the addition does not.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from compat_sdk.profile.block_table import BlockTable
from compat_train.models.build import build_model
from compat_train.models.global_cost import projects
from compat_train.models.global_network import build_layer
from compat_train.models.global_space import (
    KERNELS,
    OPERATIONS,
    STEM_KERNEL,
    Bounds,
    GlobalMember,
    Layer,
    random_member,
)
from compat_train.models.layers import ConvBN, GlobalAveragePool
from compat_train.models.search_space import BlockShape
from compat_train.nas.blocks import Block, BlockSpace, between, in_context, stem, summed, tail, with_contexts

_NETWORKS_SEED = 19


def settings_of(bounds: Bounds, size: int, dim: int, stem_stride: int) -> dict[str, object]:
    """What a table of blocks must be of; the widths that were measured are part of it."""
    widths = f"{bounds.min_width}-{bounds.max_width},step={bounds.width_step}"
    space = f"global:{bounds.kind},stages={bounds.stages},width={widths}"
    if bounds.kernel not in KERNELS:
        space += f",kernel={bounds.kernel}"
    return {"space": space, "size": size, "dim": dim, "stem_stride": stem_stride}


def block_space(bounds: Bounds, size: int, dim: int, stem_stride: int) -> BlockSpace:
    """The networks of a global search as a device measures them.

    Args:
        bounds: Kind, stages, and the widths between which the search is.
        size: Side of the input in pixels.
        dim: Length of the embedding.
        stem_stride: Stride of the stem.
    """

    def networks(wanted: int) -> dict[str, dict[str, float]]:
        generator = np.random.default_rng(_NETWORKS_SEED)
        members = [random_member(bounds, generator) for _ in range(wanted)]
        return {member.name: weights_of(member, bounds, size, dim, stem_stride) for member in members}

    blocks: list[Block] = []
    kernels = dict.fromkeys((*KERNELS, bounds.kernel))
    for width in _measured(bounds):
        # As deep as has every kind of layer: the first of a stage, and one that is not.
        member = bounds.member(4 * bounds.stages, width)
        blocks.append(_stem(member, size, stem_stride))
        for shape, side in zip(member.shapes, _sides(member, size, stem_stride), strict=False):
            blocks += [_layer(Layer(operation, kernel), shape, side) for operation in OPERATIONS for kernel in kernels]
            if projects(member, shape):
                blocks.append(_projection(shape, side))
        blocks.append(_tail(member, size, dim, stem_stride))
    return BlockSpace(
        settings_of(bounds, size, dim, stem_stride),
        size,
        with_contexts(blocks),
        networks,
        lambda arch: build_model(arch, dim=dim, stem_stride=stem_stride),
    )


def weights_of(member: GlobalMember, bounds: Bounds, size: int, dim: int, stem_stride: int) -> dict[str, float]:
    """How often each measured block counts in a network."""
    measured = _measured(bounds)
    if len(measured) == 1:
        shares = {measured[0]: 1.0}
    else:
        shares = between(member.width, measured)
    return summed(
        *(
            {name: count * share for name, count in _names(member, width, size, dim, stem_stride).items()}
            for width, share in shares.items()
        )
    )


def milliseconds(
    member: GlobalMember, table: BlockTable, bounds: Bounds, *, size: int, dim: int, stem_stride: int
) -> float:
    """What a network takes by a table of blocks.

    Raises:
        ConfigError: The table lacks one of its blocks.
    """
    return table.milliseconds(weights_of(member, bounds, size, dim, stem_stride))


def _measured(bounds: Bounds) -> list[int]:
    """Widths that are measured: every one of the bounds, and the least."""
    return sorted({bounds.min_width, *bounds.widths})


def _names(member: GlobalMember, width: int, size: int, dim: int, stem_stride: int) -> dict[str, float]:
    """How often each block counts in the network of these layers at another width."""
    alike = GlobalMember(kind=member.kind, stages=member.stages, width=width, layers=member.layers)
    parts = [{_stem(alike, size, stem_stride).name: 1.0, _tail(alike, size, dim, stem_stride).name: 1.0}]
    for layer, shape, side in zip(alike.layers, alike.shapes, _sides(alike, size, stem_stride), strict=False):
        parts.append({_layer(layer, shape, side).name: 1.0})
        if projects(alike, shape):
            parts.append({_projection(shape, side).name: 1.0})
    return summed(*parts)


def _sides(member: GlobalMember, size: int, stem_stride: int) -> list[int]:
    """Side of the input of every layer, and of the pool."""
    sides = [-(-size // stem_stride)]
    for shape in member.shapes:
        sides.append(-(-sides[-1] // shape.stride))
    return sides


def _layer(layer: Layer, shape: BlockShape, side: int) -> Block:
    name = f"{layer.operation}{layer.kernel}:{shape.channels_in}-{shape.channels_out}:s{shape.stride}@{side}"
    return in_context(name, shape.channels_in, side, lambda: build_layer(layer, shape))


def _projection(shape: BlockShape, side: int) -> Block:
    name = f"shortcut:{shape.channels_in}-{shape.channels_out}:s{shape.stride}@{side}"

    def build() -> nn.Module:
        return ConvBN(shape.channels_in, shape.channels_out, stride=shape.stride, activation=None)

    return in_context(name, shape.channels_in, side, build)


def _stem(member: GlobalMember, size: int, stem_stride: int) -> Block:
    def build() -> nn.Module:
        return ConvBN(3, member.stem, STEM_KERNEL, stride=stem_stride)

    return stem(f"stem:{member.stem}:s{stem_stride}@{size}", size, build)


def _tail(member: GlobalMember, size: int, dim: int, stem_stride: int) -> Block:
    channels, side = member.widths[-1], _sides(member, size, stem_stride)[-1]
    return tail(
        f"tail:{channels}-{dim}@{side}", channels, side, lambda: (GlobalAveragePool(), nn.Linear(channels, dim))
    )
