"""A module as an ONNX graph: weights inline, batch free or fixed.

The graph's bytes depend on the weights and on the converter's version, and on nothing else: names of source
files, stack traces and the producer's build are stripped, so that two exports of one checkpoint are equal.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from compat_export.convert.adopted_onnx import adopted_graph, with_unit_length
from compat_export.convert.conversion import OUTPUT, Options, Port, require_precision
from compat_export.convert.pixels import accept_pixels
from compat_export.convert.quantize_onnx import quantize
from compat_export.convert.shared import Shared
from compat_export.quiet import quiet_torch
from compat_sdk.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""ONNX operator set of every graph written here.

torch.export's ONNX decompositions are written in opset 18 from torch 2.6 to 2.13; any other number sends the
graph through a version converter afterwards. It needs IR version 8, and ONNX Runtime has read both since 1.14.
"""
_PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
"""Number formats that this target has."""


def convert(
    module: nn.Module, inputs: Sequence[Port], options: Options, shared: Shared | None = None
) -> dict[str, bytes]:
    """A module as an ONNX graph.

    Args:
        module: In evaluation mode, float32, on the CPU; takes one tensor ``[n, *shape]`` per port and returns
            one ``[n, dim]``. It is left as it was.
        inputs: Names and shapes of the inputs, at least one.
        options: Precision fp32, fp16, int8 or int8-static; layout nchw; ``ios`` has no bearing. Without
            ``batch`` the graph takes any number of rows.
        shared: Has the float32 graph of another precision, or gets it.

    Returns:
        ``{"model.onnx": ...}``; float32 inputs and output at every precision. Equal bytes for equal arguments.

    Raises:
        ConfigError: A precision, layout or combination that this target does not have.
        MissingExtraError: The converter is not installed.
    """
    require_precision("onnx", options, _PRECISIONS, inputs)
    if options.layout != "nchw":
        raise ConfigError(f"layout {options.layout} is not made for onnx; choose nchw")
    _require_converter()
    import onnx

    adopted = adopted_graph(module)
    if adopted is None:
        made = (shared or Shared()).once("onnx", module, inputs, options, lambda: _exported(module, inputs, options))
        proto = onnx.load_from_string(made)
    else:
        proto = with_unit_length(adopted, options)
    proto = quantize(proto, inputs[0], options)
    _strip(proto)
    # The tools write the newest that they know, which engines older than them refuse to read.
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    return {"model.onnx": cast(bytes, proto.SerializeToString(deterministic=True))}


def convert_several(modules: Sequence[nn.Module], port: Port) -> list[bytes]:
    """Modules of one input as ONNX graphs of a batch of 1, by one conversion: each alone takes seconds to begin.

    Args:
        modules: In evaluation mode, float32, on the CPU; each takes ``[1, *shape]`` and returns one ``[1, dim]``.
        port: Name and shape of the input, the same for all.

    Returns:
        Serialised graphs in the order of the modules, each with what it needs alone.

    Raises:
        MissingExtraError: The converter is not installed.
    """
    _require_converter()
    import onnx
    from onnx.utils import Extractor

    names = [f"{OUTPUT}_{number}" for number in range(len(modules))]
    with _quiet_converter(), torch.no_grad():
        program = torch.onnx.export(
            _Several(modules).eval(),
            (torch.zeros(1, *port.shape),),
            None,
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name],
            output_names=names,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo=True
    extractor = Extractor(onnx.shape_inference.infer_shapes(program.model_proto))
    found = []
    for name in names:
        proto = extractor.extract_model([port.name], [name])
        for node in proto.graph.node:
            node.output[:] = [OUTPUT if output == name else output for output in node.output]
        proto.graph.output[0].name = OUTPUT
        _strip(proto)
        proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
        found.append(cast(bytes, proto.SerializeToString(deterministic=True)))
    return found


class _Several(nn.Module):
    """Modules that see one input."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = nn.ModuleList(modules)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of each, in order."""
        return tuple(module(features) for module in self.each)


def _require_converter() -> None:
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "export-onnx")


def _exported(module: nn.Module, inputs: Sequence[Port], options: Options) -> bytes:
    """A module of PyTorch as a float32 ONNX model, serialised."""
    model = accept_pixels(module, inputs, options)
    # A sample batch of 1 would be specialised into the graph; 2 is the smallest that stays symbolic.
    sample = tuple(torch.zeros(options.batch or 2, *port.shape) for port in inputs)
    batch = torch.export.Dim("batch")
    with _quiet_converter(), torch.no_grad():
        program = torch.onnx.export(
            model,
            sample,
            None,
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in inputs],
            output_names=[OUTPUT],
            dynamic_shapes=tuple({0: batch} for _ in inputs) if options.batch is None else None,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program although dynamo=True was asked for")
    return cast(bytes, program.model_proto.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Remove what names a machine or a build and what no engine reads."""
    model.producer_name = "compat-sdk"
    model.producer_version = ""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "embedder"
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]  # inferred again by every reader, and in the way of quantisers
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """Silence what the converter says about itself; warnings about the model still come through."""
    # "torchvision is not installed. Skipping torchvision::nms"
    with quiet_torch("torch.onnx._internal.exporter._registration"):
        # Several inputs have one batch, which is what was asked for.
        warnings.filterwarnings("ignore", "# The axis name: batch will not be used", UserWarning)
        yield
