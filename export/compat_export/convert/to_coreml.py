"""A module as a Core ML package: an ML program for iOS 16, 17 or 18.

What is compressed, and what stays float. At ``fp16`` the L2 normalisation stays float32. ``int8``, ``int4`` and
``palette*`` store weights smaller and compute in float32; tensors below `SMALLEST_COMPRESSED` stay float. At ``int4``
every block of up to 32 input channels has a scale; a weight whose input channels have no divisor between 8 and 32
(depthwise kernels among them) is stored as ``int8`` with a scale per output channel instead. Activations are never
quantised: that needs Apple's engine to measure their ranges.

The files depend on weights, options and converter alone: identifiers in the manifest are made from digests, and
the converter's date and version are left out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compat_export.convert.conversion import OUTPUT, SMALLEST_COMPRESSED, Options, Port, Precision
from compat_export.convert.low_rank import merge_axes
from compat_export.convert.shared import Shared
from compat_export.mil.quiet import EXTRA, quiet_coremltools
from compat_sdk.errors import ConfigError, MissingExtraError
from compat_sdk.images import Preprocessing

_PACKAGE = "model.mlpackage"
_LARGEST_BATCH = 1024
"""Upper bound of a free batch. Core ML wants one to plan memory; an unbounded axis keeps it off the fast units."""
_BLOCK = 32
_SMALLEST_BLOCK = 8
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4", "palette8", "palette6", "palette4")

_AUTHOR = "com.apple.CoreML"
_MODEL = f"{_AUTHOR}/model.mlmodel"
_WEIGHTS = f"{_AUTHOR}/weights"


def convert(
    module: nn.Module, inputs: Sequence[Port], options: Options, shared: Shared | None = None
) -> dict[str, bytes]:
    """The files of ``model.mlpackage``.

    Inputs and the output ``embedding`` are float32 at every precision. With ``options.pixels`` the input is a
    picture (an image input of RGB or BGR, as the preprocessing says); Core ML takes pictures one at a time, so
    the batch is 1.

    Args:
        module: In evaluation mode, float32, on the CPU; takes one tensor ``[n, *shape]`` per port and returns
            ``[n, dim]``. Not changed.
        inputs: Its inputs, in order.
        options: How to convert.
        shared: Has what torch made of the module for another precision, or gets it.

    Returns:
        Content by name, all below ``model.mlpackage/``. Equal bytes for equal arguments.

    Raises:
        ConfigError: These options do not go together on Core ML.
        MissingExtraError: coremltools, or scikit-learn for a palette, is not installed.
    """
    _require_supported(inputs, options)
    if options.precision.startswith("palette") and find_spec("sklearn") is None:
        raise MissingExtraError("scikit-learn", EXTRA)
    batch = 1 if options.pixels is not None else options.batch
    traced = module
    with quiet_coremltools() as coremltools:
        if options.pixels is None:
            described = _array_inputs(coremltools, inputs, batch)
        else:
            traced, described = _picture_input(coremltools, module, inputs[0], options.pixels)
        precision = coremltools.precision.FLOAT32
        if options.precision == "fp16":
            precision = coremltools.transform.FP16ComputePrecision(op_selector=_may_be_half)
        model = coremltools.convert(
            (shared or Shared()).once("coreml", module, inputs, options, lambda: _exported(traced, inputs, batch)),
            inputs=described,
            outputs=[coremltools.TensorType(name=OUTPUT, dtype=np.float32)],
            convert_to="mlprogram",
            minimum_deployment_target=getattr(coremltools.target, f"iOS{options.ios}"),
            compute_precision=precision,
            skip_model_load=True,
        )
        models = [model]
        if options.precision not in ("fp32", "fp16"):
            models.append(_compressed(coremltools, model, options.precision))
        files = _files(models[-1])
    for made in models:  # coremltools would keep its temporary folders until the process ends
        shutil.rmtree(made.package_path, ignore_errors=True)
    return files


class _PixelModule(nn.Module):
    """A module that takes pixels in [0, 255] instead of prepared images.

    Scale and offset are one multiplication and one addition, as Core ML itself would make them.
    """

    def __init__(self, module: nn.Module, scale: Sequence[float], offset: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("scale", torch.tensor(scale).reshape(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.module(pixels * self.get_buffer("scale") + self.get_buffer("offset"))
        return result


def _may_be_half(operation: Any) -> bool:
    """Everything but the L2 normalisation: the square of a norm above 255 is infinite in float16."""
    return operation.op_type not in ("reduce_l2_norm", "maximum", "real_div")


def _require_supported(inputs: Sequence[Port], options: Options) -> None:
    if options.precision == "int8-static":
        raise ConfigError(
            "precision int8-static is not possible for Core ML: quantising activations needs Apple's own engine, "
            f"which runs on macOS only, to measure them; choose one of {', '.join(_PRECISIONS)}"
        )
    if options.precision == "int4" and options.ios < 18:
        raise ConfigError(f"precision int4 needs ios 18, found {options.ios}; or choose palette4, which has 4 bits too")
    if options.layout != "nchw":
        raise ConfigError(f"layout {options.layout} is not possible for Core ML, which works in nchw; choose nchw")
    if options.pixels is None:
        return
    size = options.pixels.size
    if [port.shape for port in inputs] != [(3, size, size)]:
        found = ", ".join(f"{port.name} {list(port.shape)}" for port in inputs)
        raise ConfigError(f"pixels need one input of shape [3, {size}, {size}]; found {found}; leave pixels out")
    if options.batch not in (None, 1):
        raise ConfigError(f"batch is {options.batch}, but Core ML takes pictures one at a time; choose batch 1 or none")


def _array_inputs(coremltools: Any, inputs: Sequence[Port], batch: int | None) -> list[Any]:
    rows = coremltools.RangeDim(1, _LARGEST_BATCH, default=1) if batch is None else batch
    return [coremltools.TensorType(name=port.name, shape=(rows, *port.shape), dtype=np.float32) for port in inputs]


def _picture_input(
    coremltools: Any, module: nn.Module, port: Port, preprocessing: Preprocessing
) -> tuple[nn.Module, list[Any]]:
    """The module and its image input; Core ML has one scale for all channels, so three go into the module."""
    scale, offset = list(preprocessing.scale), list(preprocessing.offset)
    described = {"name": port.name, "shape": (1, *port.shape), "color_layout": preprocessing.channels.upper()}
    if len(set(scale)) == 1:
        return module, [coremltools.ImageType(**described, scale=scale[0], bias=offset)]
    return _PixelModule(module, scale, offset).eval(), [coremltools.ImageType(**described)]


def _exported(module: nn.Module, inputs: Sequence[Port], batch: int | None) -> Any:
    # A sample batch of 1 would be specialised into the graph; 2 is the smallest that stays symbolic.
    samples = tuple(torch.zeros(2 if batch is None else batch, *port.shape) for port in inputs)
    rows = torch.export.Dim("batch")
    free = tuple({0: rows} for _ in inputs) if batch is None else None
    with torch.no_grad():
        return merge_axes(torch.export.export(module, samples, dynamic_shapes=free).run_decompositions({}))


def _compressed(coremltools: Any, model: Any, precision: str) -> Any:
    from coremltools.optimize import coreml

    def config(chosen: Any, **by_name: Any) -> Any:
        return coreml.OptimizationConfig(global_config=chosen, op_name_configs=by_name)

    size = {"weight_threshold": SMALLEST_COMPRESSED}
    symmetric = {"mode": "linear_symmetric", **size}
    per_channel = coreml.OpLinearQuantizerConfig(**symmetric, dtype="int8", granularity="per_channel")
    if precision == "int8":
        return coreml.linear_quantize_weights(model, config(per_channel))
    if precision == "int4":
        blocks = {}
        for name, weight in coreml.get_weights_metadata(model, weight_threshold=SMALLEST_COMPRESSED).items():
            block = _block(weight.val.shape[1] if weight.val.ndim > 1 else 1)
            blocks[name] = (
                per_channel
                if block is None
                else coreml.OpLinearQuantizerConfig(
                    **symmetric, dtype="int4", granularity="per_block", block_size=block
                )
            )
        return coreml.linear_quantize_weights(model, config(per_channel, **blocks))
    bits = int(precision.removeprefix("palette"))
    with _one_thread():
        return coreml.palettize_weights(model, config(coreml.OpPalettizerConfig(mode="kmeans", nbits=bits, **size)))


def _block(channels: int) -> int | None:
    """Input channels that share a scale: the largest divisor up to 32, or None if that is below 8."""
    largest = max(block for block in range(1, _BLOCK + 1) if channels % block == 0)
    return largest if largest >= _SMALLEST_BLOCK else None


@contextmanager
def _one_thread() -> Iterator[None]:
    """k-means adds up in the order in which threads finish; one thread makes its sums, and so the file, repeat."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # A weight with fewer different values than colours: its palette is exact.
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        yield


def _files(model: Any) -> dict[str, bytes]:
    """The package's files with nothing in them that names a build, a date or a moment."""
    spec = model.get_spec()
    spec.description.metadata.userDefined.clear()
    spec.mlProgram.attributes.clear()  # versions of the converter and of torch
    data = {_MODEL: spec.SerializeToString(deterministic=True)}
    for file in sorted(Path(model.weights_dir).rglob("*")):
        if file.is_file():
            data[f"{_WEIGHTS}/{file.relative_to(model.weights_dir).as_posix()}"] = file.read_bytes()
    root, weights = (_identifier({n: d for n, d in data.items() if n.startswith(part)}) for part in (_MODEL, _WEIGHTS))
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            root: _item("CoreML Model Specification", "model.mlmodel", _MODEL),
            weights: _item("CoreML Model Weights", "weights", _WEIGHTS),
        },
        "rootModelIdentifier": root,
    }
    text = json.dumps(manifest, indent=4, sort_keys=True) + "\n"
    files = {f"{_PACKAGE}/Manifest.json": text.encode()}
    return files | {f"{_PACKAGE}/Data/{name}": content for name, content in data.items()}


def _item(description: str, name: str, path: str) -> dict[str, str]:
    return {"author": _AUTHOR, "description": description, "name": name, "path": path}


def _identifier(data: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in data.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return str(uuid.UUID(bytes=digest.digest()[:16], version=4)).upper()
