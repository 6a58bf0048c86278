"""A module as a LiteRT (TensorFlow Lite) graph."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compat_export.convert.conversion import OUTPUT, SMALLEST_COMPRESSED, Options, Port, require_precision
from compat_export.convert.pixels import accept_pixels
from compat_export.convert.quantize_onnx import calibration_rows
from compat_export.convert.shared import Shared
from compat_export.quiet import quiet_torch, silent
from compat_sdk.errors import ConfigError, MissingExtraError

_PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
"""Number formats that this target has."""
SIGNATURE = "serving_default"
"""Name of the graph's only signature."""
_TAIL = ("ABS", "DIV", "MAXIMUM", "MUL", "POW", "RESHAPE", "RSQRT", "SQRT", "SQUARE", "SUM")
"""Operators that a normalisation is made of; they stay float32."""


class _Named(nn.Module):
    """A module with named inputs and a named output, which the converter writes into the signature."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return {OUTPUT: self.module(*(inputs[name] for name in self.names))}


def convert(
    module: nn.Module, inputs: Sequence[Port], options: Options, shared: Shared | None = None
) -> dict[str, bytes]:
    """A module as a LiteRT graph, with its ports' names in the signature ``serving_default``.

    This converter cannot leave the batch free: without ``options.batch`` the graph takes one row, and the
    runtime engine feeds rows one by one.

    Args:
        module: In evaluation mode, float32, on the CPU; takes one tensor ``[n, *shape]`` per port and returns
            one ``[n, dim]``. It is left as it was.
        inputs: Names and shapes of the inputs, at least one. With layout nhwc, inputs of three axes are
            taken as ``[n, height, width, channels]``.
        options: Precision fp32, fp16 (weights, float32 arithmetic where the device has no other), int8
            (weights, one scale per channel) or int8-static (weights and activations up to the normalisation).
            ``ios`` has no bearing.
        shared: Has the float32 graph of another precision, or gets it.

    Returns:
        ``{"model.tflite": ...}``; float32 inputs and output at every precision. Equal bytes for equal arguments.

    Raises:
        ConfigError: A precision or combination that this target does not have.
        MissingExtraError: The converter is not installed.
    """
    require_precision("tflite", options, _PRECISIONS, inputs)
    images = [position for position, port in enumerate(inputs) if len(port.shape) == 3]
    if options.layout == "nhwc" and not images:
        raise ConfigError(f"layout nhwc needs an image input; found {list(inputs)}; choose nchw")
    for package in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"):
        if find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), "export-litert")
    with _quiet_converter():
        graph = (shared or Shared()).once(
            "tflite", module, inputs, options, lambda: _exported(module, inputs, images, options)
        )
        return {"model.tflite": _quantize(graph, inputs[0], options)}


def _exported(module: nn.Module, inputs: Sequence[Port], images: Sequence[int], options: Options) -> bytes:
    """A module of PyTorch as a float32 graph; ``images`` are the places of its image inputs."""
    model = accept_pixels(module, inputs, options)
    sample = {port.name: torch.zeros(options.batch or 1, *port.shape) for port in inputs}
    with silent():  # the libraries that it loads speak of themselves
        import litert_torch

    if options.layout == "nhwc":
        model = litert_torch.to_channel_last_io(model, args=images)
        for position in images:
            name = inputs[position].name
            sample[name] = sample[name].permute(0, 2, 3, 1).contiguous()
    # no_grad and never inference_mode: the converter cannot save inference tensors.
    with torch.inference_mode(False), torch.no_grad():
        named = _Named(model, [port.name for port in inputs]).eval()
        return bytes(litert_torch.convert(named, sample_kwargs=sample).model_content())


def _quantize(graph: bytes, port: Port, options: Options) -> bytes:
    if options.precision == "fp32":
        return graph
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        OpQuantizationConfig,
        QuantGranularity,
        TensorQuantizationConfig,
        TFLOperationName,
    )

    graph, tail = _name_tensors(graph)
    work = quantizer.Quantizer(bytearray(graph))
    every = TFLOperationName.ALL_SUPPORTED
    measured = None
    match options.precision:
        case "fp16":
            work.add_weight_only_config(".*", every, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
        case "int8":
            weights = OpQuantizationConfig(
                weight_tensor_config=TensorQuantizationConfig(8, granularity=QuantGranularity.CHANNELWISE),
                explicit_dequantize=True,
                min_weight_elements=SMALLEST_COMPRESSED,
            )
            work.update_quantization_recipe(".*", every, weights)
        case "int8-static":
            work.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
            for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
                work.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
            for name in tail:
                work.update_quantization_recipe(f"^{name};$", every, algorithm_key=AlgorithmName.NO_QUANTIZE)
            blocks = calibration_rows(port, options)
            if options.layout == "nhwc":
                blocks = (block.transpose(0, 2, 3, 1).copy() for block in blocks)
            # Each by itself: given several, the calibrator takes a moving average of their ranges, which would clip
            # whatever lies outside the average image's.
            measured = _widest(work.calibrate({SIGNATURE: [{port.name: block}]}, num_threads=1) for block in blocks)
    result = work.quantize(measured, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _widest(ranges: Iterable[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Join what several calibrations found of each tensor: its lowest minimum, its highest maximum."""
    found: dict[str, dict[str, Any]] = {}
    for measured in ranges:
        for name, limits in measured.items():
            known = found.get(name) or limits
            found[name] = limits and {
                "min": np.minimum(known["min"], limits["min"]),
                "max": np.maximum(known["max"], limits["max"]),
            }
    return found


def _name_tensors(graph: bytes) -> tuple[bytes, list[str]]:
    """Number the tensors of a graph, and say which of them the normalisation makes.

    The converter gives some tensors one name, and the quantiser finds tensors and operators by name.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(graph))
    main = model.subgraphs[0]
    for position, tensor in enumerate(main.tensors):
        tensor.name = f"t{position}".encode()
    makers: dict[int, Any] = {output: operator for operator in main.operators for output in operator.outputs}
    found: list[str] = []
    waiting = list(main.outputs)
    while waiting:
        position = int(waiting.pop())
        if position not in makers or f"t{position}" in found:
            continue
        operator = makers[position]
        if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) in _TAIL:
            found.append(f"t{position}")
            waiting.extend(operator.inputs)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), found


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """Silence what the converter says about itself and its libraries, on stdout, in logs and as warnings."""
    before = os.environ.get("LITERT_TORCH_SHOW_PROGRESS")
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    try:
        # Kernels for GPUs that are not here; torchao's own use of torch.
        with quiet_torch("torchao", "torch.utils._pytree"):
            # The calibrator keeps every tensor to read its range: what it is for.
            warnings.filterwarnings("ignore", r".*experimental_preserve_all_tensors", UserWarning)
            yield
    finally:
        if before is None:
            del os.environ["LITERT_TORCH_SHOW_PROGRESS"]
        else:
            os.environ["LITERT_TORCH_SHOW_PROGRESS"] = before
