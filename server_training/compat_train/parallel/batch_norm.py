"""Batch norm whose statistics are those of the whole batch, of which each process has some rows.

torch's own layer for this refuses the CPU, counts layers by their class, and so misses batch norms of other packages
and those without a layer. This one takes the place of the function that all of them call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class WholeBatchNorms(TorchFunctionMode):
    """Inside of it, each batch norm in training mode takes the statistics of all processes' rows together."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls what was called, or `_batch_norm` in place of `torch.nn.functional.batch_norm`."""
        call: Callable[..., Any] = _batch_norm if function is F.batch_norm else function
        return call(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    output, mean, variance, count = _Normalised.apply(input, weight, bias, eps)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = variance * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    found: Tensor = output
    return found


class _Normalised(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over all processes' rows; also mean, variance and count."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        axes = [axis for axis in range(values.dim()) if axis != 1]
        variance, mean = torch.var_mean(values, axes, correction=0)
        own = torch.cat((mean, variance, mean.new_tensor([values.numel() // len(mean)])))
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        means, variances, counts = torch.split(torch.stack(every), [len(mean), len(mean), 1], 1)
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        # By the parts' own spread and that of their means: sums of squares would cancel.
        variance = ((variances + (means - mean).square()) * counts).sum(0) / count
        scale = (variance + eps).rsqrt()
        shape = [1, -1] + [1] * (values.dim() - 2)
        normed = (values - mean.view(shape)) * scale.view(shape)
        output = normed if weight is None else normed * weight.view(shape)
        if bias is not None:
            output = output + bias.view(shape)
        ctx.save_for_backward(rows, mean, scale, count, weight)
        ctx.axes, ctx.shape, ctx.has_bias = axes, shape, bias is not None
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(rows.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        rows, mean, scale, count, weight = ctx.saved_tensors
        shape = ctx.shape
        gradient = gradient.to(mean.dtype)
        normed = (rows.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        of_bias, of_weight = gradient.sum(ctx.axes), (gradient * normed).sum(ctx.axes)
        sums = torch.cat((of_bias, of_weight))  # what the other processes lack; each keeps its own for its parameters
        dist.all_reduce(sums)
        average, along = (sums / count).chunk(2)
        factor = scale if weight is None else scale * weight
        of_rows = (gradient - average.view(shape) - normed * along.view(shape)) * factor.view(shape)
        return (
            of_rows.to(rows.dtype),
            None if weight is None else of_weight.to(weight.dtype),
            of_bias if ctx.has_bias else None,
            None,
        )
