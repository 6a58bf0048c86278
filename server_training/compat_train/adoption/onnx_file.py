"""A gallery model from an ONNX file: one image in, one vector out, whatever its inputs and outputs are called.

The file is parsed by the package onnx and checked before onnxruntime sees it. What is kept is a graph of one form:
the input ``image`` ``[n, 3, s, s]``, the output ``embedding`` ``[n, dim]``, weights inline, and only the nodes that
the output needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.engines.onnxruntime import OnnxRuntimeEngine
from compat_sdk.errors import ConfigError, CorruptFileError, MissingExtraError
from compat_sdk.files.plain import read_plain
from compat_sdk.shown import shortened

if TYPE_CHECKING:
    import onnx

Layout = Literal["nchw", "nhwc"]

INPUT, OUTPUT = "image", "embedding"
_LARGEST = 2**31 - 1
_FLOAT = 1
"""TensorProto.FLOAT."""
_PREFIX = "adopted/"


@dataclass(frozen=True)
class Ports:
    """What of an ONNX file is the image and what is the embedding.

    Attributes:
        input: Name of its only input.
        output: Name of the embedding, an output or any tensor inside.
        layout: Order of the input's axes.
        size: Side of the input in pixels; None where the file leaves it free.
        batch: The one number of images that it takes at a time; None for any.
        flat: Whether the embedding has axes of length 1 after its second, which are taken away.
    """

    input: str
    output: str
    layout: Layout
    size: int | None
    batch: int | None
    flat: bool


def read_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX model, its weights inline, checked.

    Args:
        path: The file; weights that it keeps in files beside it are read too.

    Raises:
        MissingExtraError: onnx is not installed.
        ConfigError: There is no such file, or it holds more than 2 GiB, which no ONNX file can inline.
        CorruptFileError: It is no ONNX model, or a damaged one.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist or is no file; expected an ONNX model")
    return parse_onnx(read_plain(path), path)


def parse_onnx(data: bytes, path: Path) -> onnx.ModelProto:
    """The content of an ONNX file, or the graph of a bundle; see `read_onnx`.

    Args:
        data: The serialised model.
        path: For messages; what it keeps outside itself lies beside it.
    """
    if find_spec("onnx") is None:
        raise MissingExtraError("onnx", "adopt-onnx")
    import onnx

    if data[:1] != b"\x08":  # the first field of every ONNX model is its version, a varint with field number 1
        raise CorruptFileError(f"{path} starts with {data[:8]!r}, an ONNX model with the byte 8; give another file")
    try:
        model = onnx.load_model_from_string(data)
        if any(weight.data_location for weight in model.graph.initializer):
            onnx.load_external_data_for_model(model, str(path.parent))
        if model.ByteSize() > _LARGEST:
            raise ConfigError(f"{path} and its weights have {model.ByteSize()} bytes; expected at most {_LARGEST}")
        onnx.checker.check_model(model)
    except ConfigError:
        raise
    except Exception as error:  # protobuf's and the checker's exceptions share no base
        raise CorruptFileError(
            f"{path} is no whole ONNX model ({shortened(str(error), 120)}); restore it from a copy"
        ) from error
    return model


def find_ports(model: onnx.ModelProto, path: Path, *, output: str | None, layout: Layout | None) -> Ports:
    """What is the image and what is the embedding.

    Args:
        model: Output of `read_onnx`.
        path: For messages.
        output: Name of an output or of any tensor inside; None where the file has one output that can be it.
        layout: Order of the input's axes; None where its shape tells.

    Raises:
        ConfigError: It takes anything but one image, has several outputs and none is named, or no such tensor.
    """
    import onnx

    weights = {weight.name for weight in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in weights]
    if len(inputs) != 1:
        raise ConfigError(
            f"{path} takes {len(inputs)} inputs ({_named(inputs)}); expected one, an image: export its image part alone"
        )
    axes = _axes(inputs[0])
    if inputs[0].type.tensor_type.elem_type != _FLOAT or axes is None or len(axes) != 4:
        raise ConfigError(
            f"{path} takes {_named(inputs)}; expected float32 [n, 3, side, side] or [n, side, side, 3]: a video, "
            f"token or 8-bit input is not read"
        )
    found: Layout | None = "nchw" if axes[1] == 3 else "nhwc" if axes[3] == 3 else None
    if axes[1] == axes[3] == 3:
        found = None
    if layout is None and found is None:
        raise ConfigError(f"{path} takes {_named(inputs)}, which does not tell where its channels are; give --layout")
    if layout is not None and found is not None and layout != found:
        raise ConfigError(f"{path} takes {_named(inputs)}, and --layout says {layout}; leave it out")
    order: Layout = layout or found or "nchw"
    sides = axes[2:] if order == "nchw" else axes[1:3]
    known = [side for side in sides if side is not None]
    if len(set(known)) > 1:
        raise ConfigError(f"{path} takes {_named(inputs)}; expected a square image")
    outputs = list(model.graph.output)
    inside = {name for node in model.graph.node for name in node.output}
    if output is None:
        if len(outputs) != 1:
            raise ConfigError(f"{path} has {len(outputs)} outputs ({_named(outputs)}); name the embedding by --output")
        output = outputs[0].name
    elif output not in inside:
        raise ConfigError(
            f"{path} computes no tensor {shortened(output)!r}; its outputs are {_named(outputs)}, and --output may "
            f"also name a tensor inside"
        )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # the package's own exceptions share no base
        raise CorruptFileError(f"the shapes in {path} contradict each other ({shortened(str(error), 120)})") from error
    ports = [port for port in (*inferred.graph.value_info, *inferred.graph.output) if port.name == output]
    shape = _axes(ports[0]) if ports else None
    flat = shape is not None and len(shape) > 2 and all(axis == 1 for axis in shape[2:])
    if shape is not None and len(shape) != 2 and not flat:
        raise ConfigError(
            f"the output {output!r} of {path} has the shape {_shown(shape)}; expected [n, dim]: name the pooled "
            f"embedding by --output"
        )
    return Ports(inputs[0].name, output, order, known[0] if known else None, axes[0], flat)


def one_form(model: onnx.ModelProto, ports: Ports) -> bytes:
    """The part of a model that the embedding needs, in the one form that is kept; equal bytes for equal models."""
    from onnx import compose, helper

    # No tensor inside can then have the name of an end.
    inner = compose.add_prefix(model, _PREFIX)
    first, last = _PREFIX + ports.input, _PREFIX + ports.output
    nodes = _needed(inner.graph, last)
    nhwc = ports.layout == "nhwc"
    before = helper.make_node("Transpose", [INPUT], [first], perm=[0, 2, 3, 1]) if nhwc else None
    before = before or helper.make_node("Identity", [INPUT], [first])
    after = helper.make_node("Flatten" if ports.flat else "Identity", [last], [OUTPUT])
    used = {name for node in nodes for name in _read_by(node)}
    weights = sorted((each for each in inner.graph.initializer if each.name in used), key=lambda each: str(each.name))
    side: list[Any] = [ports.size or "side"] * 2
    made = helper.make_graph(
        [before, *nodes, after],
        "embedder",
        [helper.make_tensor_value_info(INPUT, _FLOAT, [ports.batch or "batch", 3, *side])],
        [helper.make_tensor_value_info(OUTPUT, _FLOAT, [ports.batch or "batch", None])],
        weights,
    )
    found = helper.make_model(made, opset_imports=model.opset_import, functions=model.functions)
    found.ir_version = max(model.ir_version, 4)  # from 4 on, weights need not be inputs too
    found.producer_name = "compat-sdk"
    data: bytes = found.SerializeToString(deterministic=True)
    return data


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that a tensor depends on, in the graph's order."""
    maker = {name: node for node in graph.node for name in node.output}
    wanted, found = [output], set()
    while wanted:
        node = maker.get(wanted.pop())
        if node is not None and id(node) not in found:
            found.add(id(node))
            wanted.extend(_read_by(node))
    return [node for node in graph.node if id(node) in found]


def _read_by(node: onnx.NodeProto) -> list[str]:
    """Names of all tensors that a node reads, in the graphs inside it too."""
    inner = [
        part
        for attribute in node.attribute
        for graph in ((attribute.g,) if attribute.HasField("g") else tuple(attribute.graphs))
        for part in graph.node
    ]
    return [*node.input, *(name for part in inner for name in _read_by(part))]


def original_outputs(data: bytes, ports: Ports, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What the file itself, as it is, computes of prepared images, one at a time.

    Args:
        data: The file, or with inlined weights.
        ports: What is fed and what is taken; an output of the file.
        inputs: float32 ``[3, s, s]`` each.

    Returns:
        float32 ``[n, dim]``.
    """
    engine = OnnxRuntimeEngine(data, input=ports.input, output=ports.output)
    fed = [image[None] if ports.layout == "nchw" else image.transpose(1, 2, 0)[None] for image in inputs]
    return np.concatenate([engine.run(np.ascontiguousarray(image)).reshape(1, -1) for image in fed])


def with_output(model: onnx.ModelProto, output: str) -> bytes:
    """The file with a tensor inside it among its outputs, otherwise as it is."""
    import onnx
    from onnx import helper

    found = onnx.ModelProto()
    found.CopyFrom(model)
    if output not in {port.name for port in found.graph.output}:
        found.graph.output.append(helper.make_tensor_value_info(output, _FLOAT, None))
    data: bytes = found.SerializeToString()
    return data


def dimension(graph: bytes, size: int) -> int:
    """Numbers per embedding of a graph in the one form, by running it once on a grey image of this side.

    Raises:
        ConfigError: It cannot be run at this size, or gives anything but one vector an image.
    """
    image = np.zeros((1, 3, size, size), np.float32)
    found = OnnxRuntimeEngine(graph).run(image)
    if found.ndim != 2 or len(found) != 1:
        raise ConfigError(f"the model gives {list(found.shape)} for one image; expected [1, dim]: choose --output")
    return int(found.shape[1])


def _axes(port: onnx.ValueInfoProto) -> list[int | None] | None:
    """Lengths of the axes, None for a free one; None where the file does not say."""
    kind = port.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in kind.shape.dim]


def _shown(axes: list[int | None] | None) -> str:
    return (
        "of unknown shape" if axes is None else str(["n" if axis is None else axis for axis in axes]).replace("'", "")
    )


def _named(ports: Sequence[onnx.ValueInfoProto]) -> str:
    shown = [f"{port.name} {_shown(_axes(port))}" for port in ports[:6]]
    return shortened(", ".join(shown) + (", ..." if len(ports) > 6 else "") or "none", 200)
