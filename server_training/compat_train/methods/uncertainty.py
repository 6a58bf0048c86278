"""How uncertain a finished transform is about each row, learned from embeddings alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from compat_sdk.errors import TrainingError, VectorError
from compat_train.data.batches import step_generator
from compat_train.losses.fastfill import uncertain_alignment_loss
from compat_train.models.uncertainty import LogVariance

_ORDER = 5

Vectors = NDArray[np.float32]


def train_uncertainty(
    inputs: Vectors,
    transformed: Vectors,
    new: Vectors,
    *,
    hidden: int = 256,
    epochs: int = 20,
    batch: int = 512,
    lr: float = 1e-3,
    seed: int = 0,
) -> LogVariance:
    """Trains the variance of FastFill's Gaussian while its mean, a finished transform, stays as it is.

    FastFill trains mean and variance together. Apart, any transform can be given an order for backfilling
    afterwards, and its vectors do not change; the loss is the same.

    Source: Jaeckle et al., FastFill, ICLR 2023, https://arxiv.org/abs/2303.04766.

    Args:
        inputs: What the transform sees of each image: old embeddings, or old embeddings and side-information side by
            side. [n, inputs]
        transformed: The transform's output, unit norm. Rows that it was not trained on give honest errors. [n, dim]
        new: The new model's embeddings of the same images. [n, dim]
        hidden: Width of the hidden layers.
        epochs: Passes over the rows.
        batch: Rows per step, at most n.
        lr: Adam's learning rate at the start; it falls to 0 as a cosine.
        seed: Of the starting weights and the order; on the CPU the same seed gives the same network.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        VectorError: The arrays have different numbers of rows.
        TrainingError: The loss is not finite.
    """
    if not len(inputs) == len(transformed) == len(new) or transformed.shape != new.shape or not len(inputs):
        raise VectorError(
            f"found {list(inputs.shape)} inputs, {list(transformed.shape)} transformed and {list(new.shape)} new "
            f"vectors; expected the same images in each, and one dimension in the last two"
        )
    tensors = [torch.from_numpy(np.array(rows, np.float32)) for rows in (inputs, transformed, new)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LogVariance(inputs.shape[1], hidden)
    size = min(batch, len(inputs))
    steps_per_epoch = len(inputs) // size
    # The mean error is known before the first step; to start there spares the network from learning it.
    mean_error = (tensors[1] - tensors[2]).square().mean().clamp_min(1e-12)
    torch.nn.init.constant_(network.head.bias, math.log(float(mean_error)))
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=step_generator(seed, _ORDER, epoch))
        for place in range(steps_per_epoch):
            rows = order[place * size : (place + 1) * size]
            progress = (epoch * steps_per_epoch + place) / (epochs * steps_per_epoch)
            optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * progress))
            seen, mean, target = (tensor[rows] for tensor in tensors)
            loss = uncertain_alignment_loss(mean, target, network(seen))
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"the uncertainty's loss is {loss.item()} in epoch {epoch + 1}; check the vectors, or lower lr"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network.eval()


@torch.inference_mode()
def log_variances(network: LogVariance, inputs: Vectors) -> NDArray[np.float32]:
    """Log-variances ``[n]`` of ``[n, inputs]``, for `compat_sdk.upgrade.backfill.backfill_order`."""
    found: NDArray[np.float32] = network(torch.from_numpy(np.array(inputs, np.float32))).numpy()
    return found
