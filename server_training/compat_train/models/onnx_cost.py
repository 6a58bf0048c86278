"""What an ONNX graph costs, from its nodes and the shapes that the package onnx infers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from compat_sdk.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import onnx

Row = tuple[str, str, tuple[int, ...], int]
"""Name of a node, its kind, the shape of its output for one image, and the multiply-adds of each of its elements."""


def onnx_rows(graph: bytes, size: int) -> tuple[list[Row], int]:
    """Every convolution, linear layer, matrix product and batch norm of a graph, and the number of its weights.

    Args:
        graph: A model with the input ``image`` ``[n, 3, s, s]``, weights inline.
        size: Side of the image in pixels.

    Raises:
        MissingExtraError: onnx is not installed.
        ConfigError: A node's cost cannot be told: its shapes are not known, or it is of a kind that is not counted.
    """
    if find_spec("onnx") is None:
        raise MissingExtraError("onnx", "adopt-onnx")
    import onnx

    model = onnx.load_model_from_string(graph)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    for axis, length in zip(axes, (1, 3, size, size), strict=True):
        axis.dim_value = length
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {item.name: _shape(item) for item in (*inferred.value_info, *inferred.input, *inferred.output)}
    shapes |= {weight.name: tuple(weight.dims) for weight in inferred.initializer}
    rows = [row for node in inferred.node if (row := _row(node, shapes)) is not None]
    weights = sum(math.prod(weight.dims) for weight in inferred.initializer if weight.data_type == 1)
    return rows, weights


def _row(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Row | None:
    """One node's cost; None for what the convention of `count_cost` counts as nothing."""
    kinds = {"Conv": "convolution", "Gemm": "linear", "MatMul": "linear", "BatchNormalization": "batch norm"}
    if node.op_type in ("ConvTranspose", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"):
        raise ConfigError(
            f"the multiply-adds of {node.op_type} ({node.name or node.output[0]}) are not counted here; adopt the "
            f"model in another form, such as module:PACKAGE.MODULE:CALLABLE"
        )
    if node.op_type not in kinds:
        return None
    ends = (*node.input[:2], node.output[0])
    if any(not shapes.get(name) for name in ends):
        raise ConfigError(
            f"the shapes of {node.op_type} ({node.name or node.output[0]}) are not known; export the model with a "
            f"fixed size of the image"
        )
    first, weight, output = (shapes[name] for name in ends)
    match node.op_type:
        case "Conv":
            each = math.prod(weight[1:])
        case "Gemm":
            each = weight[0 if not _number(node, "transB") else 1]
        case "MatMul":
            each = first[-1]
        case _:
            each = 2
    return node.name or node.output[0], kinds[node.op_type], output[1:], each


def _number(node: onnx.NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _shape(item: onnx.ValueInfoProto) -> tuple[int, ...]:
    axes = item.type.tensor_type.shape.dim
    return tuple(axis.dim_value for axis in axes) if all(axis.dim_value > 0 for axis in axes) else ()
