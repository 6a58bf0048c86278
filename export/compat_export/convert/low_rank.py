"""Fewer axes for what only moves data about, for formats that have at most five.

Windowed attention cuts an image into windows as ``[n, rows, w, columns, w, channels]``, exchanges the two axes in the
middle and puts axes together again. Axes that stand side by side before and after the exchange are one axis to it:
``[n * rows, w, columns, w * channels]`` is the same data, moved the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.export import ExportedProgram
from torch.fx import Node

LARGEST_RANK = 5
"""Axes that a tensor may have in Core ML."""

_ATEN = torch.ops.aten
_VIEWS = (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.reshape.default)


def merge_axes(program: ExportedProgram) -> ExportedProgram:
    """Write each reshape to more than `LARGEST_RANK` axes, exchange of axes and reshape back with fewer axes, in place.

    Args:
        program: As torch exports it. What does not have that form is left alone.
    """
    graph = program.graph_module.graph
    for view in list(graph.nodes):
        exchange = _exchange_after(view)
        if exchange is None:
            continue
        sizes, order = list(view.args[1]), _order(exchange, len(view.args[1]))
        groups = _groups(order)
        if len(groups) > LARGEST_RANK or sum(not isinstance(size, int) for size in sizes) > 1:
            continue
        merged = [_product([sizes[axis] for axis in group]) for group in sorted(groups)]
        new_order = [sorted(groups).index(group) for group in groups]
        with graph.inserting_before(exchange):
            flat = graph.call_function(_ATEN.reshape.default, (view.args[0], merged))
            moved = graph.call_function(_ATEN.permute.default, (flat, new_order))
        value = view.meta["val"]
        flat.meta = view.meta | {
            "val": value.reshape([math.prod(value.shape[axis] for axis in g) for g in sorted(groups)])
        }
        moved.meta = exchange.meta | {"val": flat.meta["val"].permute(new_order)}
        for user in list(exchange.users):
            if user.target is _ATEN.clone.default:
                user.meta = user.meta | {"val": moved.meta["val"].contiguous()}
        exchange.replace_all_uses_with(moved)
        graph.erase_node(exchange)
        graph.erase_node(view)
    graph.lint()
    program.graph_module.recompile()
    return program


def _exchange_after(view: Node) -> Node | None:
    """The exchange of axes that alone follows a reshape to too many of them, if a reshape alone follows that."""
    if view.op != "call_function" or view.target not in _VIEWS or len(view.args[1]) <= LARGEST_RANK:  # type: ignore[arg-type]
        return None
    (exchange, *others) = view.users
    if others or exchange.target not in (_ATEN.transpose.int, _ATEN.permute.default):
        return None
    ends = [user for node in exchange.users for user in (node.users if node.target is _ATEN.clone.default else [node])]
    return exchange if ends and all(end.target in _VIEWS for end in ends) else None


def _order(exchange: Node, rank: int) -> list[int]:
    """Which axis of its input each axis of its output is."""
    if exchange.target is _ATEN.permute.default:
        return [int(axis) % rank for axis in exchange.args[1]]  # type: ignore[union-attr, arg-type]
    first, second = (int(axis) % rank for axis in exchange.args[1:3])  # type: ignore[arg-type]
    order = list(range(rank))
    order[first], order[second] = second, first
    return order


def _groups(order: Sequence[int]) -> list[tuple[int, ...]]:
    """Input axes that stand side by side in the output as in the input, in the output's order."""
    groups: list[tuple[int, ...]] = []
    for axis in order:
        if groups and groups[-1][-1] == axis - 1:
            groups[-1] = (*groups[-1], axis)
        else:
            groups.append((axis,))
    return groups


def _product(sizes: Sequence[int | Node]) -> int:
    """The size of several axes as one; -1, which is what is left, where one is known at run time alone."""
    return math.prod(size for size in sizes if isinstance(size, int)) if all(isinstance(s, int) for s in sizes) else -1
