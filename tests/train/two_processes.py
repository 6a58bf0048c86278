"""What each of two processes does in `test_several_processes`: ``python -m tests.train.two_processes DATA OUT``."""

from __future__ import annotations

import copy
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.loop import fit
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade
from compat_train.parallel.group import rank, together
from compat_train.parallel.rows import average_gradients, over_processes

# Three small steps, of 15 images, which do not divide by two.
STEPS = Optimisation(epochs=1, batch=15, lr=0.01, warmup_epochs=0.0, gradient_norm=5.0)
ON_CPU = Execution(device="cpu", threads=1, checkpoint_steps=1, process_timeout=300)
TRAININGS = ("gallery", "resumed", "infonce", "dmu", "side", "upgrade")


def gallery_config(data: Path) -> GalleryConfig:
    """A tiny gallery model."""
    return GalleryConfig(
        source=Source(data=str(data)),
        arch="resnet18",
        width=0.125,
        dim=16,
        preprocessing=Preprocessing(size=28),
        optimisation=STEPS,
        augmentation=Augmentation(shift=0.1, flip=True),
        execution=ON_CPU,
    )


def train_all(data: Path, out: Path) -> None:
    """A training of each kind, in one process or in several; ``resumed`` has been begun where it can be."""
    gallery = gallery_config(data)
    train_gallery(gallery, out / "gallery")
    train_gallery(gallery, out / "resumed")
    for method in ("infonce", "dmu"):  # the loss of the first and the weights of the second are over the whole batch
        query = QueryConfig(
            gallery=str(out / "gallery"),
            source=gallery.source,
            method=method,  # type: ignore[arg-type]
            arch="resnet18",
            width=0.125,
            optimisation=STEPS,
            augmentation=gallery.augmentation,
            execution=ON_CPU,
        )
        train_query(query, out / method)
    side = SideInfoConfig(
        source=gallery.source,
        method="simclr",
        arch="resnet18",
        width=0.125,
        dim=8,
        preprocessing=gallery.preprocessing,
        optimisation=STEPS,
        execution=ON_CPU,
    )
    train_side_info(side, out / "side")
    upgrade = UpgradeConfig(
        old=str(out / "gallery"),
        new=str(out / "infonce"),
        side_info=str(out / "side"),
        source=gallery.source,
        hidden=16,
        optimisation=replace(STEPS, optimiser="adam"),
        execution=ON_CPU,
    )
    train_upgrade(upgrade, out / "upgrade")


class _Network(nn.Module):
    """Batch norms with a layer and without, with statistics and without."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm, self.bare = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.last, self.flat = nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=0.3)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.bare(self.first(images)).relu()
        rows = F.batch_norm(self.norm(self.second(rows)), None, None, training=True)
        found: Tensor = self.flat(self.last(rows.mean((2, 3)) + rows.amax((2, 3))))
        return found


@together
def whole_batch_error(config: GalleryConfig) -> float:
    """Largest difference of a loss over the batch, its gradients and the statistics to those of one process."""
    torch.manual_seed(0)
    images = torch.randn(7, 3, 8, 8, dtype=torch.float64)
    alone = nn.ModuleDict({"network": _Network(), "classifier": nn.Linear(5, 3)}).double()
    shared = copy.deepcopy(alone)
    found = []
    for model, outputs in ((alone, alone["network"](images)), (shared, over_processes(shared["network"], images))):
        every = F.cross_entropy(outputs @ outputs.T, torch.arange(7)) + model["classifier"](outputs).square().mean()
        every.backward()
        if model is shared:
            average_gradients(model.parameters())
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        found.append([every.detach().view(1), *gradients, *model.buffers()])
    assert len(found[0]) == len(found[1]) > 12
    return max(float((one - other).abs().max()) for one, other in zip(*found, strict=True))


@together
def train_and_be_killed(config: GalleryConfig, out: Path) -> None:
    """Rank 1 is killed in its third step."""
    layer = nn.Linear(2, 1)

    def objective(batch: Batch) -> dict[str, Tensor]:
        if rank() == 1 and batch.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"own": layer(batch.images[:, 0, 0, :2]).square().mean()}

    batches = Batches(
        np.zeros((16, 4, 4, 3), np.uint8),
        np.zeros(16, np.int64),
        batch=4,
        seed=0,
        augmentation=Augmentation(),
        device=torch.device("cpu"),
    )
    schedule = replace(config.optimisation, batch=4)
    fit(nn.ModuleDict({"layer": layer}), objective, batches, schedule, config.execution, run=out, settings={})


def main(data: Path, out: Path) -> None:
    """All of it, and on stdout what came out beside the files."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    config = gallery_config(data)
    sys.stdout.write(f"{whole_batch_error(config)}\n")
    train_all(data, out)
    sys.stdout.flush()
    try:
        train_and_be_killed(config, out / "killed")
    except TrainingError as error:
        sys.stdout.write(f"{error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
