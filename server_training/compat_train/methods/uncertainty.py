"""How uncertain a finished transform is about each row, learned from embeddings alone."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.errors import VectorError
from compat_sdk.progress import Progress
from compat_train.config.parts import Augmentation, Execution, Optimisation
from compat_train.config.settings import config_to_json
from compat_train.data.batches import Batch, Batches
from compat_train.device import device_of
from compat_train.loop import fit
from compat_train.losses.fastfill import uncertain_alignment_loss
from compat_train.models.uncertainty import LogVariance

Vectors = NDArray[np.float32]

_BATCH = 512


def train_uncertainty(
    inputs: Vectors,
    transformed: Vectors,
    new: Vectors,
    out: str | Path,
    progress: Progress | None = None,
    *,
    hidden: int = 256,
    optimisation: Optimisation | None = None,
    execution: Execution | None = None,
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
        out: Folder of the log and the resume points. They stay, so the same call on a finished folder trains nothing.
        progress: Called after each step.
        hidden: Width of the hidden layers.
        optimisation: Schedule; None for 20 epochs of Adam at a rate of 1e-3, 512 rows a step or all that there are.
        execution: Seed and threads; None for seed 0 on the CPU, where the same seed gives the same network.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        VectorError: The arrays have different numbers of rows.
        ConfigError: There are fewer rows than one step takes.
        TrainingError: The loss is not finite, or the folder belongs to other vectors or settings.
    """
    if not len(inputs) == len(transformed) == len(new) or transformed.shape != new.shape or not len(inputs):
        raise VectorError(
            f"found {list(inputs.shape)} inputs, {list(transformed.shape)} transformed and {list(new.shape)} new "
            f"vectors; expected the same images in each, and one dimension in the last two"
        )
    execution = execution or Execution(device="cpu")
    optimisation = optimisation or Optimisation(
        epochs=20, batch=min(_BATCH, len(inputs)), lr=1e-3, weight_decay=0.0, warmup_epochs=0.0, optimiser="adam"
    )
    arrays = [np.array(rows, np.float32) for rows in (inputs, transformed, new)]
    device = device_of(execution.device)
    seen, mean, target = (torch.from_numpy(rows).to(device) for rows in arrays)
    batches = Batches(
        np.broadcast_to(np.uint8(0), (len(inputs), 1, 1, 3)),  # nobody looks at images here, only at the rows' numbers
        np.zeros(len(inputs), np.int64),
        batch=optimisation.batch,
        seed=execution.seed,
        augmentation=Augmentation(),
        device=device,
    )
    settings = {
        "vectors": hashlib.sha256(b"".join(rows.tobytes() for rows in arrays)).hexdigest(),
        "hidden": hidden,
        "optimisation": config_to_json(optimisation),
        "seed": execution.seed,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(execution.seed)
        network = LogVariance(inputs.shape[1], hidden)
        # The mean error is known before the first step; to start there spares the network from learning it.
        mean_error = (mean - target).square().mean().clamp_min(1e-12)
        nn.init.constant_(network.head.bias, math.log(float(mean_error)))
        network.to(device)

        def objective(batch: Batch) -> dict[str, Tensor]:
            rows = batch.index.to(device)
            return {"alignment": uncertain_alignment_loss(mean[rows], target[rows], network(seen[rows]))}

        fit(
            nn.ModuleDict({"uncertainty": network}),
            objective,
            batches,
            optimisation,
            execution,
            run=Path(out),
            settings=settings,
            stage="train uncertainty",
            progress=progress,
        )
    return network.cpu().eval()


@torch.inference_mode()
def log_variances(network: LogVariance, inputs: Vectors) -> NDArray[np.float32]:
    """Log-variances ``[n]`` of ``[n, inputs]``, for `compat_sdk.upgrade.backfill.backfill_order`."""
    found: NDArray[np.float32] = network(torch.from_numpy(np.array(inputs, np.float32))).numpy()
    return found
