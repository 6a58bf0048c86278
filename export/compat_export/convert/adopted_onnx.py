"""The ONNX graph of a gallery model that was adopted as one: its own nodes, and the L2 normalisation after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from compat_export.convert.conversion import INPUT, OUTPUT, Options
from compat_sdk.errors import ConfigError
from compat_train.models.onnx_network import OnnxNetwork

if TYPE_CHECKING:
    import onnx

_SMALLEST_NORM = 1e-12
_RAW = "embedding_of_any_length"
_AXES_ARE_AN_INPUT = 18
"""Operator set from which the axes of a reduction are an input."""


def adopted_graph(module: nn.Module) -> OnnxNetwork | None:
    """The network inside a module, if it exists as an ONNX graph alone."""
    network = getattr(module, "network", None)
    return network if isinstance(network, OnnxNetwork) else None


def with_unit_length(network: OnnxNetwork, options: Options) -> onnx.ModelProto:
    """The graph with unit vectors as its output.

    Raises:
        ConfigError: Pixels inside the graph or another layout are asked for.
    """
    import onnx
    from onnx import helper

    if options.pixels is not None:
        raise ConfigError("pixels inside the graph are not made for an adopted ONNX model; leave --pixels out")
    model = onnx.load_model_from_string(network.serialised)
    graph = model.graph
    graph.node[-1].output[0] = _RAW
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    tensors = {"smallest": helper.make_tensor("smallest_norm", onnx.TensorProto.FLOAT, [], [_SMALLEST_NORM])}
    if opset >= _AXES_ARE_AN_INPUT:
        tensors["axes"] = helper.make_tensor("norm_axes", onnx.TensorProto.INT64, [1], [1])
        norm = helper.make_node("ReduceL2", [_RAW, "norm_axes"], ["norm"], keepdims=1)
    else:
        norm = helper.make_node("ReduceL2", [_RAW], ["norm"], axes=[1], keepdims=1)
    graph.initializer.extend(tensors.values())
    graph.node.extend(
        [
            norm,
            helper.make_node("Max", ["norm", "smallest_norm"], ["norm_above_zero"]),
            helper.make_node("Div", [_RAW, "norm_above_zero"], [OUTPUT]),
        ]
    )
    if options.batch is not None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = options.batch
        graph.output[0].type.tensor_type.shape.dim[0].dim_value = options.batch
    assert graph.input[0].name == INPUT
    return model
