"""A module or a checkpoint as an ONNX graph: weights inline, batch free or fixed.

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
from torch import Tensor, nn

from compat_export.convert.conversion import OUTPUT as OUTPUT
from compat_export.convert.conversion import Options, Port
from compat_export.convert.quantize_onnx import quantize
from compat_export.convert.quiet import quiet_torch
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.errors import ConfigError, MissingExtraError
from compat_sdk.images import Preprocessing

if TYPE_CHECKING:
    import onnx

    from compat_train.runs.checkpoint import Checkpoint

OPSET = 18
"""ONNX operator set of every graph written here.

torch.export's ONNX decompositions are written in opset 18 from torch 2.6 to 2.13; any other number sends the
graph through a version converter afterwards. ONNX Runtime has read it since 1.14.
"""
INPUT = "image"
PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
"""Number formats that this target has."""


class _PixelInput(nn.Module):
    """A module whose image input takes RGB values in [0, 255] in place of prepared ones.

    Args:
        module: Module from a prepared image, float32 ``[n, 3, s, s]``, to float32 ``[n, dim]``.
        preprocessing: Gives the mean, the standard deviation and the order of the channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module = module
        self.reverse = preprocessing.channels == "bgr"
        order = slice(None, None, -1) if self.reverse else slice(None)
        mean = torch.tensor(preprocessing.mean[order], dtype=torch.float64).reshape(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std[order], dtype=torch.float64).reshape(1, 3, 1, 1)
        # One multiplication and one addition in place of two divisions and a subtraction.
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings, float32 ``[n, dim]``, of RGB values in [0, 255], float32 ``[n, 3, s, s]``."""
        if self.reverse:  # by slices, which every converter knows
            image = torch.cat((image[:, 2:3], image[:, 1:2], image[:, 0:1]), 1)
        embedding: Tensor = self.module(image * self.scale + self.shift)
        return embedding


def accept_pixels(module: nn.Module, inputs: Sequence[Port], options: Options) -> nn.Module:
    """The module behind ``options.pixels``: a `_PixelInput` around it, or the module itself.

    Raises:
        ConfigError: Pixels are asked for, and the module does not have one image as its only input.
    """
    if options.pixels is None:
        return module
    if len(inputs) != 1 or len(inputs[0].shape) != 3 or inputs[0].shape[0] != 3:
        raise ConfigError(
            f"pixels in the graph need one input of shape (3, height, width); the module has "
            f"{[(port.name, port.shape) for port in inputs]}; leave pixels out"
        )
    return _PixelInput(module, options.pixels).eval()


def require_precision(target: str, options: Options, supported: Sequence[str], inputs: Sequence[Port]) -> None:
    """Return only if a target has a precision, and the calibration fits the module.

    Raises:
        ConfigError: It has not, or calibration images are not those of the module's only input.
    """
    if options.precision not in supported:
        raise ConfigError(f"precision {options.precision} is not made for {target}; choose {', '.join(supported)}")
    if options.calibration is not None and (
        len(inputs) != 1 or len(options.calibration) == 0 or options.calibration.shape[1:] != inputs[0].shape
    ):
        raise ConfigError(
            f"found calibration of shape {list(options.calibration.shape)} for the inputs "
            f"{[(port.name, port.shape) for port in inputs]}; int8-static needs a module with one input "
            f"and prepared samples [n, *shape] of it, n at least 1"
        )


def convert(module: nn.Module, inputs: Sequence[Port], options: Options) -> dict[str, bytes]:
    """A module as an ONNX graph.

    Args:
        module: In evaluation mode, float32, on the CPU; takes one tensor ``[n, *shape]`` per port and returns
            one ``[n, dim]``. It is left as it was.
        inputs: Names and shapes of the inputs, at least one.
        options: Precision fp32, fp16, int8 or int8-static; layout nchw; ``ios`` has no bearing. Without
            ``batch`` the graph takes any number of rows.

    Returns:
        ``{"model.onnx": ...}``; float32 inputs and output at every precision. Equal bytes for equal arguments.

    Raises:
        ConfigError: A precision, layout or combination that this target does not have.
        MissingExtraError: The converter is not installed.
    """
    require_precision("onnx", options, PRECISIONS, inputs)
    if options.layout != "nchw":
        raise ConfigError(f"layout {options.layout} is not made for onnx; choose nchw")
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "export-onnx")
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
    proto = quantize(program.model_proto, inputs[0], options)
    _strip(proto)
    return {"model.onnx": cast(bytes, proto.SerializeToString(deterministic=True))}


def export_onnx(checkpoint: Checkpoint) -> bytes:
    """The checkpoint's embedder as a serialised ONNX model.

    Args:
        checkpoint: A trained model; its preprocessing gives the image size.

    Returns:
        The bytes of a ``.onnx`` file. Input ``image``: float32 ``[batch, 3, s, s]``. Output ``embedding``:
        float32 ``[batch, dim]`` with unit rows. Equal bytes for equal checkpoints.

    Raises:
        MissingExtraError: The converter is not installed.
    """
    return _export_module(checkpoint.build(), checkpoint.preprocessing.size)


def _export_module(embedder: nn.Module, size: int) -> bytes:
    """As ``export_onnx``, for a bare module in evaluation mode.

    Args:
        embedder: Module from float32 ``[n, 3, size, size]`` to float32 ``[n, dim]``, not normalised.
        size: Height and width of the input, in pixels.

    Returns:
        The bytes of a ``.onnx`` file.

    Raises:
        MissingExtraError: The converter is not installed.
    """
    model = UnitEmbedder(embedder).eval()
    return convert(model, [Port(INPUT, (3, size, size))], Options())["model.onnx"]


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
