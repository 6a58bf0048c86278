"""What a model costs: multiply-adds and parameters, by the convention of CMP-NAS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from compat_sdk.errors import ConfigError
from compat_train.models.onnx_cost import onnx_rows
from compat_train.models.onnx_network import OnnxNetwork

_KINDS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Conv1d, "convolution"),
    (nn.Conv2d, "convolution"),
    (nn.Linear, "linear"),
    (nn.BatchNorm1d, "batch norm"),
    (nn.BatchNorm2d, "batch norm"),
)


@dataclass(frozen=True)
class LayerCost:
    """Cost of one call of one layer, for one image, or of all products outside layers.

    Attributes:
        name: Dotted name of the layer inside the model; "" for what no layer computes.
        kind: ``convolution``, ``linear``, ``batch norm``, or ``function`` for what no layer computes.
        output_shape: Shape of its output for one image, without the batch axis; where a model has put several parts of
            the image, say windows, into the batch axis, with it. Empty for a ``function``.
        mmacs: Multiply-adds in millions; 0 for a batch norm, which folds into its convolution.
        mmacs_paper: The same, but 2 for every output element of a batch norm.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    mmacs: float
    mmacs_paper: float


@dataclass(frozen=True)
class Cost:
    """Cost of embedding one image.

    Attributes:
        mmacs: Multiply-adds of convolutions, linear layers and matrix products, in millions.
        mmacs_paper: The same plus 2 per output element of a batch norm: the "FLOPs" of CMP-NAS, table 5.
        params_m: Parameters that the forward pass uses, in millions.
    """

    mmacs: float
    mmacs_paper: float
    params_m: float


def count_cost(model: nn.Module, size: int) -> Cost:
    """Count the multiply-adds and parameters that one image takes.

    One fused multiply-add counts as one; biases, activations, pools and additions count nothing. Layers are
    counted when they are called: a layer called twice counts twice, and a layer never called does not count.
    What runs as a bare function, above all the two products of an attention, is counted by PyTorch. The model is left
    as it was found.

    Table 5 of CMP-NAS ("FLOPs") is ``mmacs_paper`` at 112 pixels with stem stride 1, to within 1 %.
    ResNet-101 with a head of 128 gives 7600 (the table says 7597). The small networks match with a head of
    1000, the width of their papers' classifiers: MobileNetV1 579 (579) and 0.5x 155 (155), MobileNetV3 225
    (226), ProxylessNAS 331 (332), ShuffleNetV1 147 (148), ShuffleNetV2 149 (149); a head of 128 takes about 1
    off each. The table's figures look like the column "FLOPs/2" of the model catalogue osmr/imgclsmob at 224
    pixels: that count adds halves for activations and pools, and gives its 7597.95, 579.80 and 155.42 to the
    digit. MobileNetV2 does not match, 314 (329) and 0.5x 104 (100), since the catalogue's differs from its
    paper's: its first block has an expansion convolution, and its widths are not rounded to multiples of 8.

    Args:
        model: Maps ``[n, 3, size, size]`` to anything.
        size: Side of the input in pixels, at least 1.

    Returns:
        The totals for one image.

    Raises:
        ConfigError: The size is below 1, or an ONNX graph has nodes that are not counted.
    """
    layers, parameters = _trace(model, size)
    return Cost(
        mmacs=math.fsum(layer.mmacs for layer in layers),
        mmacs_paper=math.fsum(layer.mmacs_paper for layer in layers),
        params_m=parameters / 1e6,
    )


def per_layer(model: nn.Module, size: int) -> tuple[LayerCost, ...]:
    """List what every call of a convolution, linear layer or batch norm costs, in order of execution.

    Where a model computes products outside layers, a last row says what all of them cost. The columns sum to
    :func:`count_cost`, which states the convention.

    Args:
        model: Maps ``[n, 3, size, size]`` to anything.
        size: Side of the input in pixels, at least 1.

    Returns:
        One row per call, and that row.

    Raises:
        ConfigError: The size is below 1.
    """
    return _trace(model, size)[0]


def _trace(model: nn.Module, size: int) -> tuple[tuple[LayerCost, ...], int]:
    """One row per layer and product, and the number of parameters that the forward pass uses."""
    if size < 1:
        raise ConfigError(f"size is {size}; the side of an image is at least 1 pixel, commonly 112")
    if isinstance(model, OnnxNetwork):
        return _of_onnx(model, size)
    layers: list[LayerCost] = []
    parameters: dict[int, nn.Parameter] = {}
    modes = [(module, module.training) for module in model.modules()]
    handles = list(_watch(model, layers, parameters))
    like = next(model.parameters(), torch.empty(0))
    try:
        model.eval()
        with torch.no_grad(), _unfused_attention(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, size, size, dtype=like.dtype, device=like.device))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    others = counter.get_total_flops() / 2e6 - math.fsum(layer.mmacs for layer in layers)
    if others > 1e-6:  # one multiply-add; the sums are of whole numbers
        layers.append(LayerCost(name="", kind="function", output_shape=(), mmacs=others, mmacs_paper=others))
    return tuple(layers), sum(parameter.numel() for parameter in parameters.values())


def _of_onnx(network: OnnxNetwork, size: int) -> tuple[tuple[LayerCost, ...], int]:
    rows, weights = onnx_rows(network.serialised, size)
    layers = [
        LayerCost(
            name=name,
            kind=kind,
            output_shape=shape,
            mmacs=0.0 if kind == "batch norm" else math.prod(shape) * each / 1e6,
            mmacs_paper=math.prod(shape) * each / 1e6,
        )
        for name, kind, shape, each in rows
    ]
    return tuple(layers), weights


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Attention runs as products, as PyTorch counts them: it counts none of the kernels that are a whole attention."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _watch(model: nn.Module, layers: list[LayerCost], parameters: dict[int, nn.Parameter]) -> Iterable[RemovableHandle]:
    for name, module in model.named_modules():
        # torch's attention uses its last layer's weights without calling it.
        own = tuple(module.parameters(recurse=isinstance(module, nn.MultiheadAttention)))
        kind = next((kind for known, kind in _KINDS if isinstance(module, known)), None)

        # Values of this round of the loop are bound as defaults: the hook runs after the loop is over.
        def record(
            called: nn.Module,
            _: tuple[Tensor, ...],
            output: Tensor,
            name: str = name,
            kind: str | None = kind,
            own: tuple[nn.Parameter, ...] = own,
        ) -> None:
            parameters.update((id(parameter), parameter) for parameter in own)
            if kind is not None:
                layers.append(_layer_cost(name, kind, called, output))

        if own or kind is not None:
            yield module.register_forward_hook(record)


def _layer_cost(name: str, kind: str, module: nn.Module, output: Tensor) -> LayerCost:
    elements = output.numel()  # all of it is of the one image, however a model has arranged it
    per_element = 0
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        # Weight [out, in / groups, ...]: every output element sums over all axes but the first.
        per_element = module.weight[0].numel()
    elif isinstance(module, nn.Linear):
        per_element = module.in_features
    return LayerCost(
        name=name,
        kind=kind,
        output_shape=tuple(output.shape[1:] if len(output) == 1 else output.shape),
        mmacs=elements * per_element / 1e6,
        mmacs_paper=elements * (2 if kind == "batch norm" else per_element) / 1e6,
    )
