"""A module as an ExecuTorch program for the XNNPACK delegate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import nn

from compat_export.convert.conversion import Options, Port, require_precision
from compat_export.convert.pixels import accept_pixels
from compat_export.convert.unit import Unit, half_inside
from compat_export.quiet import quiet_torch
from compat_sdk.errors import ConfigError, MissingExtraError

_PRECISIONS = ("fp32", "fp16")
"""Number formats that this target has."""


def convert(module: nn.Module, inputs: Sequence[Port], options: Options) -> dict[str, bytes]:
    """A module as an ExecuTorch program whose method is ``forward``.

    The format has no names: inputs are taken in the order of the ports. The memory of a program is planned for
    its largest batch, so the batch is fixed: without ``options.batch`` it is 1, and the runtime engine feeds rows
    one by one.

    Args:
        module: In evaluation mode, float32, on the CPU; takes one tensor ``[n, *shape]`` per port and returns
            one ``[n, dim]``. It is left as it was.
        inputs: Names and shapes of the inputs, at least one.
        options: Precision fp32, or fp16 for a `compat_export.convert.unit.Unit`, whose normalisation stays float32;
            layout nchw. ``ios`` has no bearing.

    Returns:
        ``{"model.pte": ...}``; float32 inputs and output at every precision. Equal bytes for equal arguments.

    Raises:
        ConfigError: A precision, layout or combination that this target does not have.
        MissingExtraError: The converter is not installed.
    """
    require_precision("executorch", options, _PRECISIONS, inputs)
    if options.layout != "nchw":
        raise ConfigError(f"layout {options.layout} is not made for executorch; choose nchw")
    if find_spec("executorch") is None:
        raise MissingExtraError("executorch", "export-executorch")
    model = accept_pixels(_halve(module) if options.precision == "fp16" else module, inputs, options)
    sample = tuple(torch.zeros(options.batch or 1, *port.shape) for port in inputs)
    with _quiet_converter():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        with torch.no_grad():
            exported = torch.export.export(model, sample)
            edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
            return {"model.pte": bytes(edge.to_executorch().buffer)}


def _halve(module: nn.Module) -> nn.Module:
    if not isinstance(module, Unit):
        raise ConfigError(
            f"precision fp16 is made for executorch only of a network and the normalisation after it "
            f"(compat_export.convert.unit), found {type(module).__name__}; choose fp32"
        )
    return half_inside(module).eval()


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """Silence what the converter says about itself and its libraries; warnings about the model still come through."""
    # Kernels for GPUs that are not here; torchao's own use of torch.
    with quiet_torch("torchao", "torch.utils._pytree"):
        # executorch reads files of its own by old calls.
        warnings.filterwarnings("ignore", r"read_(text|binary) is deprecated", DeprecationWarning)
        yield
