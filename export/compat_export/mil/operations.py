"""Operations that compute, and the table of all that are known.

Parameter names and defaults are those of Apple's MIL operation set (iOS 15 to 18). Every function takes float32
tensors and returns float32; rounding to float16 is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from compat_export.mil import constants, shapes
from compat_export.mil.shapes import integers
from compat_sdk.errors import BundleError, CheckFailedError


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Convolution of ``[n, channels, *pixels]`` with ``[out, channels / groups, *kernel]``, 1 to 3 dimensions."""
    spatial = x.dim() - 2
    if spatial not in (1, 2, 3) or weight.dim() != x.dim():
        raise BundleError(f"conv of {list(x.shape)} with a kernel {list(weight.shape)}")
    ones = [1] * spatial
    step, spacing = integers(strides, ones), integers(dilations, ones)
    margins = _margins(x, pad_type, pad, [*weight.shape[2:]], step, spacing)
    kernel: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[spatial - 1]
    count = 1 if groups is None else int(groups)
    found: Tensor = kernel(functional.pad(x, margins), weight, bias, step, 0, spacing, count)
    return found


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` with weight ``[out, in]``."""
    return functional.linear(x, weight, bias)


def real_div(x: Tensor, y: Tensor) -> Tensor:
    """Quotient. Integers, which programs divide to count copies, must divide without a rest."""
    if x.is_floating_point() or y.is_floating_point():
        return x / y
    if bool((y == 0).any()) or bool((x % y != 0).any()):
        raise CheckFailedError(
            f"real_div of the integers {x.tolist()} by {y.tolist()} leaves a rest; not computed here"
        )
    return torch.div(x, y, rounding_mode="floor")


def matmul(x: Tensor, y: Tensor, transpose_x: Tensor | None = None, transpose_y: Tensor | None = None) -> Tensor:
    """Matrix product over the last two axes."""
    left = x.mT if transpose_x is not None and bool(transpose_x) else x
    right = y.mT if transpose_y is not None and bool(transpose_y) else y
    return left @ right


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Batch norm with stored statistics; epsilon is 1e-5 by default."""
    small = 1e-5 if epsilon is None else float(epsilon)
    return functional.batch_norm(x, mean, variance, gamma, beta, training=False, eps=small)


def layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Over axes, all by default: less the mean, by the deviation, then scaled and moved; epsilon is 1e-5 by default."""
    over = sorted(axis % x.dim() for axis in integers(axes, range(x.dim())))
    shape = [length if axis in over else 1 for axis, length in enumerate(x.shape)]
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    found = (x - mean) * (variance + (1e-5 if epsilon is None else float(epsilon))).rsqrt()
    found = found if gamma is None else found * gamma.reshape(shape)
    return found if beta is None else found + beta.reshape(shape)


def max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """Largest value under a window; padding never wins."""
    kernel, step, margins = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return functional.max_pool2d(functional.pad(x, margins, value=-torch.inf), kernel, step)


def avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """Mean under a window; padding counts as zeros unless it is excluded."""
    kernel, step, margins = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    mean = functional.avg_pool2d(functional.pad(x, margins), kernel, step)
    if exclude_padding_from_average is None or not bool(exclude_padding_from_average):
        return mean
    return mean / functional.avg_pool2d(functional.pad(torch.ones_like(x), margins), kernel, step)


def sigmoid_hard(x: Tensor, alpha: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
    """``alpha x + beta``, cut to [0, 1]; 0.2 and 0.5 by default."""
    slope = 0.2 if alpha is None else float(alpha)
    return (x * slope + (0.5 if beta is None else float(beta))).clamp(0, 1)


def thresholded_relu(x: Tensor, alpha: Tensor | None = None) -> Tensor:
    """``x`` from ``alpha`` on (1 by default), otherwise 0."""
    return torch.where(x >= (1.0 if alpha is None else float(alpha)), x, torch.zeros_like(x))


def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """``x`` cut to [alpha, beta]."""
    return x.clamp(float(alpha), float(beta))


def leaky_relu(x: Tensor, alpha: Tensor | None = None) -> Tensor:
    """``x``, times ``alpha`` (0.01 by default) below 0."""
    return functional.leaky_relu(x, 0.01 if alpha is None else float(alpha))


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """Gaussian error linear unit, exact or by tanh."""
    names = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
    if mode not in names:
        raise CheckFailedError(f"gelu of mode {mode} is not computed here; known are {', '.join(names)}")
    return functional.gelu(x, approximate=names[mode])


def softmax(x: Tensor, axis: Tensor | None = None) -> Tensor:
    """Exponentials that sum to 1 along an axis, the last by default."""
    return x.softmax(-1 if axis is None else int(axis))


def rsqrt(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """``1 / sqrt(x + epsilon)``; 1e-12 by default."""
    return (x + (1e-12 if epsilon is None else float(epsilon))).rsqrt()


def reduce_mean(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Mean over axes, over all by default."""
    return x.mean(integers(axes, range(x.dim())), _kept(keep_dims))


def reduce_sum(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Sum over axes, over all by default."""
    return x.sum(integers(axes, range(x.dim())), _kept(keep_dims))


def cumsum(
    x: Tensor, axis: Tensor | None = None, exclusive: Tensor | None = None, reverse: Tensor | None = None
) -> Tensor:
    """Sum of all up to each place along an axis, the first by default.

    Raises:
        CheckFailedError: The place itself does not count, or the sum begins at the end.
    """
    if (exclusive is not None and bool(exclusive)) or (reverse is not None and bool(reverse)):
        raise CheckFailedError("cumsum that is exclusive or reversed is not computed here")
    return x.cumsum(0 if axis is None else int(axis))


def reduce_prod(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Product over axes, over all by default."""
    for axis in sorted((axis % x.dim() for axis in integers(axes, range(x.dim()))), reverse=True):
        x = x.prod(axis, keepdim=_kept(keep_dims))
    return x


def reduce_max(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Largest value over axes, over all by default."""
    return x.amax(integers(axes, range(x.dim())), _kept(keep_dims))


def reduce_l2_norm(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
    """Root of the sum of squares over axes, over all by default."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=integers(axes, range(x.dim())), keepdim=_kept(keep_dims))
    return norm


OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "add": lambda x, y: x + y,
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "cast": shapes.cast,
    "clip": clip,
    "concat": shapes.concat,
    "constexpr_affine_dequantize": constants.affine_dequantize,
    "constexpr_blockwise_shift_scale": constants.blockwise_shift_scale,
    "constexpr_lut_to_dense": constants.lut_to_dense,
    "conv": conv,
    "cos": lambda x: x.cos(),
    "cumsum": cumsum,
    "equal": lambda x, y: x == y,
    "exp": lambda x: x.exp(),
    "expand_dims": shapes.expand_dims,
    "fill": shapes.fill,
    "gather": shapes.gather,
    "gelu": gelu,
    "identity": lambda x: x,
    "layer_norm": layer_norm,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "logical_not": lambda x: x.logical_not(),
    "matmul": matmul,
    "max_pool": max_pool,
    "maximum": lambda x, y: torch.maximum(x, y),
    "minimum": lambda x, y: torch.minimum(x, y),
    "mul": lambda x, y: x * y,
    "pad": shapes.pad,
    "pow": lambda x, y: x**y,
    "range_1d": lambda end, start, step: torch.arange(start.item(), end.item(), step.item(), dtype=end.dtype),
    "real_div": real_div,
    "reduce_l2_norm": reduce_l2_norm,
    "reduce_max": reduce_max,
    "reduce_mean": reduce_mean,
    "reduce_prod": reduce_prod,
    "reduce_sum": reduce_sum,
    "relu": lambda x: x.relu(),
    "relu6": lambda x: x.clamp(0, 6),
    "reshape": shapes.reshape,
    "rsqrt": rsqrt,
    "select": shapes.select,
    "shape": shapes.shape_of,
    "sigmoid": lambda x: x.sigmoid(),
    "sigmoid_hard": sigmoid_hard,
    "sin": lambda x: x.sin(),
    "silu": lambda x: functional.silu(x),
    "slice_by_index": shapes.slice_by_index,
    "softmax": softmax,
    "split": shapes.split,
    "sqrt": lambda x: x.sqrt(),
    "square": lambda x: x * x,
    "squeeze": shapes.squeeze,
    "stack": shapes.stack,
    "sub": lambda x, y: x - y,
    "tanh": lambda x: x.tanh(),
    "thresholded_relu": thresholded_relu,
    "tile": shapes.tile,
    "transpose": shapes.transpose,
}
"""Every known operation by its name in a program."""


def _kept(keep_dims: Tensor | None) -> bool:
    return keep_dims is not None and bool(keep_dims)


def _window(
    x: Tensor, kernel_sizes: Tensor, strides: Tensor | None, pad_type: str, pad: Tensor | None, ceil_mode: Tensor | None
) -> tuple[list[int], list[int], list[int]]:
    if ceil_mode is not None and bool(ceil_mode):
        raise CheckFailedError("pooling with ceil_mode is not computed here")
    kernel = integers(kernel_sizes)
    if x.dim() != 4 or len(kernel) != 2:
        raise CheckFailedError(f"pooling of {list(x.shape)} is not computed here; known is [n, channels, h, w]")
    step = integers(strides, [1, 1])
    return kernel, step, _margins(x, pad_type, pad, kernel, step, [1, 1])


def _margins(
    x: Tensor, pad_type: str, pad: Tensor | None, kernel: Sequence[int], step: Sequence[int], spacing: Sequence[int]
) -> list[int]:
    """Padding in the order of ``torch.nn.functional.pad``: last axis first, before and after."""
    pairs: list[tuple[int, int]] = []
    given = integers(pad, [0] * (2 * len(kernel)))
    for i, (length, stride) in enumerate(zip(x.shape[2:], step, strict=True)):
        # "same": as many places as ceil(length / stride); an odd one goes after, for "same_lower" before.
        missing = max(0, (-(-length // stride) - 1) * stride + spacing[i] * (kernel[i] - 1) + 1 - length)
        match pad_type:
            case "custom":
                pairs.append((given[2 * i], given[2 * i + 1]))
            case "valid":
                pairs.append((0, 0))
            case "same":
                pairs.append((missing // 2, missing - missing // 2))
            case "same_lower":
                pairs.append((missing - missing // 2, missing // 2))
            case _:
                raise CheckFailedError(f"padding of type {pad_type} is not computed here")
    return [number for pair in reversed(pairs) for number in pair]
