"""A batch that the processes of a training share: each runs the network on its own rows, and all see every output.

Every process draws the same batch, so that whatever comes after the outputs is the same in all: losses over the whole
batch are exact. What the gradient of the outputs meets on its way back, in each process, are its own rows alone. It is
therefore multiplied by the number of processes, and then all gradients are averaged: those of the network become the
sum over the rows, those of a classifier, which are the same everywhere, stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from compat_train.parallel.batch_norm import WholeBatchNorms
from compat_train.parallel.group import processes, rank


def over_processes(network: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """A network's outputs for a whole batch, its rows divided over the processes; a single process runs it as it is.

    Batch norms in training mode have the statistics of the whole batch. Gradients that go back through the outputs
    need `average_gradients`.

    Args:
        network: From inputs to outputs ``[n, ...]``; each row of outputs belongs to the same row of inputs.
        inputs: ``[n, ...]`` each, the same in all processes, n at least their number; None is passed on.

    Returns:
        ``[n, ...]``, the same in all processes.
    """
    if processes() == 1:
        return network(*inputs)
    count = next(len(rows) for rows in inputs if rows is not None)
    own = own_rows(count)
    with WholeBatchNorms():
        outputs = network(*(None if rows is None else rows[own] for rows in inputs))
    whole: Tensor = _Gathered.apply(outputs, count, own)  # type: ignore[no-untyped-call]
    return whole


def own_rows(count: int) -> slice:
    """Which of ``count`` rows this process has: consecutive ones, as many as the others have, or one more."""
    return slice(rank() * count // processes(), (rank() + 1) * count // processes())


class _Gathered(torch.autograd.Function):
    """The rows of all processes, one after the other."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, count: int, own: slice) -> Tensor:
        ctx.own = own
        # Zeros elsewhere, so that slices may differ in length; at least float32, which every backend adds up.
        kind = torch.promote_types(rows.dtype, torch.float32)
        whole = torch.zeros((count, *rows.shape[1:]), dtype=kind, device=rows.device)
        whole[own] = rows
        dist.all_reduce(whole)
        return whole.to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.own] * processes(), None, None


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Makes every gradient its mean over the processes, in place; nothing to do for a single one."""
    if processes() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= processes()
        for gradient, mean in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))


def share_state(state: Iterable[Tensor]) -> None:
    """Gives tensors the values that they have in the process of rank 0, in place."""
    if processes() == 1:
        return
    for tensor in state:
        values = tensor.detach().contiguous()
        dist.broadcast(values, 0)
        tensor.detach().copy_(values)


def same_everywhere(number: int, device: torch.device) -> list[int]:
    """The number that each process has, by rank."""
    if processes() == 1:
        return [number]
    every = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(processes())]
    dist.all_gather(every, torch.tensor([number], device=device))
    return [int(one) for one in every]
