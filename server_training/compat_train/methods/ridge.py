"""A closed-form start: the last layer as the ridge regression from a network's features to its targets.

A pretrained network knows its pictures already; what it lacks is the gallery model's space. The linear layer that comes
closest to it is one equation away, without a step of training.

Source: Hoerl and Kennard, Ridge regression, Technometrics 12(1), 1970; how strongly to shrink is chosen by generalised
cross-validation: Golub, Heath and Wahba, Technometrics 21(2), 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.images import Preprocessing
from compat_train.embed import input_tensor
from compat_train.models.last_layer import last_linear

_BATCH = 128
_GRID = torch.logspace(-8, 2, 41, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear map with a constant: ``x @ weight.T + bias``.

    Attributes:
        weight: float64 ``[dim, features]``.
        bias: float64 ``[dim]``.
        shrinkage: The chosen lambda, as a share of the features' mean variance.
    """

    weight: Tensor
    bias: Tensor
    shrinkage: float


def ridge_regression(features: Tensor, targets: Tensor) -> Ridge:
    """The linear map of least squared error plus ``n * lambda * |weight|²``; lambda by generalised cross-validation.

    The constant is not shrunk. Lambda is the one of 41 from 1e-8 to 100 times the features' mean variance, for which
    ``|residual|² / (n - degrees of freedom)²`` is least.

    Args:
        features: ``[n, features]``, n at least 2, finite.
        targets: ``[n, dim]``, finite.
    """
    x, y = features.double(), targets.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    count = len(x)
    # Eigenvectors of the covariance: every lambda is then a division.
    values, axes = torch.linalg.eigh(x.T @ x / count)
    values = values.clamp_min(0.0)
    along = axes.T @ (x.T @ y) / count
    unit = float(values.mean().clamp_min(1e-30))
    total, power = float(y.square().sum()) / count, along.square().sum(1)
    best, chosen = float("inf"), float(_GRID[-1])
    for share in _GRID.tolist():
        shrunk = 1.0 / (values + share * unit)
        residual = total - float((2 * power * shrunk - values * power * shrunk.square()).sum())
        free = 1.0 - (1.0 + float((values * shrunk).sum())) / count
        if free <= 0:
            continue
        score = max(residual, 0.0) / free**2
        if score < best:
            best, chosen = score, share
    weight = (axes @ (along / (values + chosen * unit)[:, None])).T
    return Ridge(weight, y_mean - weight @ x_mean, chosen)


def start_by_ridge(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    images: NDArray[np.int64],
    targets: Tensor,
    preprocessing: Preprocessing,
    device: torch.device,
) -> Ridge:
    """Fills a network's last layer, in place, with the ridge regression from what goes into it to the targets.

    The network runs in eval mode. One that has never been trained first takes its batch norms' statistics from the
    images, since those that it was built with are of nothing.

    Args:
        network: On its device; its last layer is a linear one named ``head``.
        pixels: uint8 ``[m, size, size, 3]``, decoded as the network does.
        images: int64 ``[n]``, rows of ``pixels`` to learn from, at least 2.
        targets: ``[n, dim]`` for these images.
        preprocessing: The network's.
        device: Where to run.

    Raises:
        TrainingError: The network does not end in a linear layer.
    """
    last = last_linear(network)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if norms and all(_untouched(norm) for norm in norms):
        _take_statistics(network, norms, pixels, images, preprocessing, device)
    features: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].detach().float().cpu()))
    training = network.training
    network.eval()
    try:
        _run(network, pixels, images, preprocessing, device)
    finally:
        hook.remove()
        network.train(training)
    found = ridge_regression(torch.cat(features), targets.cpu())
    with torch.no_grad():
        last.weight.copy_(found.weight)
        last.bias.copy_(found.bias)
    return found


def _untouched(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    """Whether the statistics are still those that a batch norm is built with; published weights lack the counters."""
    mean, variance = norm.running_mean, norm.running_var
    return mean is None or variance is None or bool((mean == 0).all() and (variance == 1).all())


def _take_statistics(
    network: nn.Module,
    norms: list[nn.modules.batchnorm._BatchNorm],
    pixels: NDArray[np.uint8],
    images: NDArray[np.int64],
    preprocessing: Preprocessing,
    device: torch.device,
) -> None:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    training = network.training
    network.train()
    whole = len(images) // _BATCH * _BATCH or len(images)  # a batch of one has no variance
    _run(network, pixels, images[:whole], preprocessing, device)
    network.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def _run(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    images: NDArray[np.int64],
    preprocessing: Preprocessing,
    device: torch.device,
) -> None:
    for start in range(0, len(images), _BATCH):
        block = torch.from_numpy(pixels[images[start : start + _BATCH]]).to(device)
        network(input_tensor(block, preprocessing).contiguous(memory_format=torch.channels_last))
