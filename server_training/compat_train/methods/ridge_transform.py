"""A transform that begins as ridge regression, exactly, so that training can only go on from there.

A layer with ReLU holds a linear map in two units for each number: relu(x) - relu(-x) is x. Batch norm with the mean and
the deviation of its own inputs for shift and scale changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compat_train.methods.ridge import Ridge
from compat_train.models.transform import ForwardAdaptation, ForwardTransform


def least_width(method: str, old: int, new: int) -> int:
    """Width of the hidden layers that a transform needs to hold a linear map of these dimensions."""
    return 4 * new if method == "fct" else 2 * old


@torch.no_grad()
def start_as(ridge: Ridge, transform: nn.Module, old: Tensor, side: Tensor | None = None) -> None:
    """Set a transform's weights, in place, so that in eval mode it is the linear map, up to rounding.

    Units beyond those that the map takes keep their random weights; what follows them begins at zero.

    Args:
        ridge: From ``[n, old_dim + side_dim]``.
        transform: With hidden layers of at least `least_width`.
        old: ``[n, old_dim]`` training rows, for the statistics of batch norms.
        side: ``[n, side_dim]`` beside them; None where it takes none.
    """
    weight = ridge.weight.float().to(old.device)
    dim = old.shape[1]
    if isinstance(transform, ForwardTransform):
        seen = [_through(transform.of_old, old, [_split(dim), _mapped(weight[:, :dim])])]
        if side is None:
            seen.append(_through(transform.of_side, 0 * old, []))
        else:
            seen.append(_through(transform.of_side, side, [_split(side.shape[1]), _mapped(weight[:, dim:])]))
        both = torch.cat(seen, 1)
        _through(transform.mixer, both, [torch.eye(both.shape[1], device=old.device)] * 2)
        eye = torch.eye(len(weight), device=old.device)
        last = torch.cat([eye, -eye] * 2, 1) if side is not None else torch.cat([eye, -eye, 0 * eye, 0 * eye], 1)
    else:
        assert isinstance(transform, ForwardAdaptation)
        same = torch.eye(2 * dim, device=old.device)
        _through(transform.layers, old, [_split(dim), same, same])
        last = torch.cat([weight, -weight], 1)
    head = transform.head
    head.weight.zero_()
    head.weight[:, : last.shape[1]] = last
    head.bias.copy_(ridge.bias)


def _split(dim: int) -> Tensor:
    """``[2 dim, dim]``: x and -x, of which ReLU keeps one each."""
    return torch.cat([torch.eye(dim), -torch.eye(dim)])


def _mapped(weight: Tensor) -> Tensor:
    """``[2 out, 2 in]``: the map and its negative, of what was split."""
    return torch.cat([torch.cat([weight, -weight], 1), torch.cat([-weight, weight], 1)])


def _through(layers: nn.Sequential, rows: Tensor, maps: list[Tensor]) -> Tensor:
    """Set the first units of each linear layer to a map, and every batch norm to change nothing; return the outputs."""
    place = 0
    for layer in layers:
        if isinstance(layer, nn.Linear) and place < len(maps):
            chosen = maps[place].to(rows.device)
            layer.weight[: len(chosen)] = 0
            layer.weight[: len(chosen), : chosen.shape[1]] = chosen
            if layer.bias is not None:
                layer.bias[: len(chosen)] = 0
            place += 1
        if isinstance(layer, nn.BatchNorm1d):
            mean, variance = rows.mean(0), rows.var(0, unbiased=False)
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
            layer.weight.copy_((variance + layer.eps).sqrt())
            layer.bias.copy_(mean)
            continue
        rows = layer(rows.clone())
    return rows
