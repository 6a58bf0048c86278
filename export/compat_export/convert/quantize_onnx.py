"""Smaller number formats of an ONNX graph, all with float32 inputs and output.

The L2 normalisation at the end stays float32 at every precision: a sum of squares overflows float16 above an
embedding norm of 256, and 8 bits for a norm would spoil every coordinate at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compat_export.convert.conversion import SMALLEST_COMPRESSED, Options, Port
from compat_sdk.engines.onnxruntime import import_onnxruntime
from compat_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    import onnx

_TAIL = frozenset(
    {"Abs", "Clip", "Div", "Expand", "Max", "Mul", "Pow", "ReduceL2", "ReduceSum", "ReduceSumSquare", "Sqrt"}
)
"""Operators that a normalisation is made of."""


def quantize(model: onnx.ModelProto, port: Port, options: Options) -> onnx.ModelProto:
    """A float32 graph at the precision that the options ask for.

    Args:
        model: Float32 graph with weights as initializers; may be changed.
        port: Its first input.
        options: The precision, and for int8-static the calibration.

    Returns:
        The graph: as it was (fp32), with float16 weights and activations (fp16), with int8 weights that are
        made float again before use (int8), or with int8 weights and uint8 activations (int8-static).

    Raises:
        MissingExtraError: onnxruntime, whose tools do this, is not installed.
        CompatError: This process loaded usearch first, after which onnxruntime would kill it.
    """
    del model.graph.value_info[:]  # the tools infer shapes again, and stumble over symbolic ones
    match options.precision:
        case "fp16":
            return _halve(model)
        case "int8":
            _compress_weights(model)
        case "int8-static":
            return _quantize_static(model, port, options)
    return model


def calibration_rows(port: Port, options: Options) -> Iterator[NDArray[np.float32]]:
    """The calibration in blocks that a graph with these options takes, the last block filled with its last row.

    Args:
        port: The only input.
        options: Gives the calibration, the batch and what the graph does with pixels. The layout stays nchw.

    Yields:
        float32 ``[batch, *shape]``, or blocks of one row when the batch is free.
    """
    prepared = options.calibration
    if prepared is None:
        return
    if options.pixels is not None:  # back to what the graph is given: RGB values in [0, 255]
        order = slice(None, None, -1) if options.pixels.channels == "bgr" else slice(None)
        mean = np.array(options.pixels.mean, np.float32).reshape(3, 1, 1)
        std = np.array(options.pixels.std, np.float32).reshape(3, 1, 1)
        prepared = (prepared[:, order] * std + mean) * np.float32(255)
    batch = options.batch or 1
    for start in range(0, len(prepared), batch):
        rows = np.minimum(np.arange(start, start + batch), len(prepared) - 1)
        yield np.ascontiguousarray(prepared[rows], np.float32)


def _tail(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes of the normalisation: back from the output, up to the first operator of another kind."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: list[str] = []
    waiting = [makers[model.graph.output[0].name]]
    while waiting:
        node = waiting.pop()
        if node.op_type in _TAIL and node.name not in found:
            found.append(node.name)
            waiting.extend(makers[name] for name in node.input if name in makers)
    return found


def _halve(model: onnx.ModelProto) -> onnx.ModelProto:
    import_onnxruntime()
    try:
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnxruntime", "export-onnx") from error
    halved: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=_tail(model))
    # The tool appends one cast per reader of a value, all of one name, behind the nodes that read them.
    nodes = {node.output[0]: node for node in halved.graph.node}
    _drop_roundings(nodes, halved.graph.output[0].name)
    del halved.graph.node[:]
    halved.graph.node.extend(nodes.values())
    ONNXModel(halved).topological_sort()
    return halved


def _drop_roundings(nodes: dict[str, onnx.NodeProto], output: str) -> None:
    """Take away casts to float16 and straight back, which the tool puts between neighbours that stay float32.

    Args:
        nodes: Nodes by the name of their output; changed in place.
        output: Name of the graph's output, which is kept.
    """
    for name, back in list(nodes.items()):
        there = nodes.get(back.input[0]) if back.op_type == "Cast" else None
        if there is None or there.op_type != "Cast":
            continue
        # The only casts to float16 of a float32 value stand behind such neighbours and behind the inputs.
        source = there.input[0]
        del nodes[name]
        if name == output:  # then the maker of the value takes the output's name
            maker = nodes.pop(source)
            maker.output[0] = name
            nodes[name] = maker
            source, name = name, source
        for node in nodes.values():
            for position, given in enumerate(node.input):
                if given == name:
                    node.input[position] = source
    read = {given for node in nodes.values() for given in node.input}
    for name, node in list(nodes.items()):
        if node.op_type == "Cast" and name not in read and name != output:
            del nodes[name]


def _compress_weights(model: onnx.ModelProto) -> None:
    """Store the larger weights of convolutions and matrix products as int8, symmetric, a scale per output channel."""
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    done: dict[tuple[str, int], str] = {}
    nodes = []
    for node in model.graph.node:
        axis = _channel_axis(node)
        if axis is not None and node.input[1] in weights:
            name = node.input[1]
            values = numpy_helper.to_array(weights[name])
            if values.size < SMALLEST_COMPRESSED:
                nodes.append(node)
                continue
            if (name, axis) not in done:
                axis_of = axis % values.ndim
                largest = np.abs(values).max(axis=tuple(a for a in range(values.ndim) if a != axis_of), keepdims=True)
                scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
                rounded = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
                codes, scales, result = (f"{name}.int8{axis}.{part}" for part in ("codes", "scale", "weight"))
                model.graph.initializer.append(numpy_helper.from_array(rounded, codes))
                model.graph.initializer.append(numpy_helper.from_array(scale.reshape(-1), scales))
                nodes.append(helper.make_node("DequantizeLinear", [codes, scales], [result], result, axis=axis_of))
                done[name, axis] = result
            node.input[1] = done[name, axis]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)


def _channel_axis(node: onnx.NodeProto) -> int | None:
    """Axis of the output channels in a node's weight, None for a node without one."""
    match node.op_type:
        case "Conv":
            return 0
        case "MatMul":
            return -1
        case "Gemm":
            return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return None


def _quantize_static(model: onnx.ModelProto, port: Port, options: Options) -> onnx.ModelProto:
    import onnx

    import_onnxruntime()
    try:
        from onnxruntime import quantization
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnxruntime", "export-onnx") from error

    blocks = calibration_rows(port, options)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def get_next(self) -> dict[str, Any] | None:
            block = next(blocks, None)
            return None if block is None else {port.name: block}

    # Says that the graph needs no simplification before, which torch has done; otherwise the root logger warns.
    mark = model.metadata_props.add()
    mark.key, mark.value = "onnx.quant.pre_process", "onnxruntime.quant"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantization.quantize_static(
            model,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_tail(model),
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(path)
