"""What each of two processes does in `test_several_processes`: ``python -m tests.train.two_processes DATA OUT WORK``."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from compat_sdk.errors import CompatError
from compat_sdk.images import Preprocessing
from compat_train.config.training import Augmentation, Execution, GalleryConfig, Optimisation, QueryConfig, Source
from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.loop import fit
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade
from compat_train.parallel.group import rank, together

STEPS = Optimisation(epochs=1, batch=15, lr=0.02, warmup_epochs=0.0, gradient_norm=5.0)  # 3 steps; 15 is no even number
ON_CPU = Execution(device="cpu", threads=1, process_timeout=60)
SIZE = Preprocessing(size=28)


def gallery_config(data: Path) -> GalleryConfig:
    """A tiny gallery model."""
    return GalleryConfig(
        source=Source(data=str(data)),
        arch="resnet18",
        width=0.125,
        dim=16,
        preprocessing=SIZE,
        optimisation=STEPS,
        augmentation=Augmentation(shift=0.1, flip=True),
        execution=ON_CPU,
    )


def query_config(data: Path, gallery: Path, method: str) -> QueryConfig:
    """A tiny model against it: ``infonce`` looks at the whole batch, and so do the weights of ``dmu``."""
    return QueryConfig(
        gallery=str(gallery),
        source=Source(data=str(data)),
        method=method,  # type: ignore[arg-type]
        arch="resnet18",
        width=0.125,
        optimisation=STEPS,
        augmentation=Augmentation(shift=0.1, flip=True),
        execution=ON_CPU,
    )


def train_all(data: Path, out: Path) -> None:
    """A training of each kind, in one process or in several."""
    train_gallery(gallery_config(data), out / "gallery")
    for method in ("infonce", "dmu"):
        train_query(query_config(data, out / "gallery", method), out / method)
    side = SideInfoConfig(
        source=Source(data=str(data)),
        method="simclr",
        arch="resnet18",
        width=0.125,
        dim=8,
        preprocessing=SIZE,
        optimisation=STEPS,
        execution=ON_CPU,
    )
    train_side_info(side, out / "side")
    upgrade = UpgradeConfig(
        old=str(out / "gallery"),
        new=str(out / "infonce"),
        side_info=str(out / "side"),
        source=Source(data=str(data)),
        hidden=16,
        optimisation=replace(STEPS, optimiser="adam"),
        execution=ON_CPU,
    )
    train_upgrade(upgrade, out / "upgrade")


@together
def train_and_fail(config: GalleryConfig, out: Path, how: str) -> None:
    """Rank 1 is killed at its third step, or stops there, or raises an error of its own."""
    layer = nn.Linear(2, 1)

    def objective(batch: Batch) -> dict[str, Tensor]:
        if rank() == 1 and batch.step == 2:
            if how == "raise":
                raise MemoryError("no room for the third step")
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        return {"own": layer(batch.images[:, 0, 0, :2]).square().mean()}

    images = torch.zeros(32, 4, 4, 3, dtype=torch.uint8).numpy()
    labels = torch.zeros(32, dtype=torch.int64).numpy()
    batches = Batches(images, labels, batch=4, seed=0, augmentation=Augmentation(), device=torch.device("cpu"))
    trained = nn.ModuleDict({"layer": layer})
    fit(trained, objective, batches, config.optimisation, config.execution, run=out, settings={})


def main(data: Path, out: Path, work: str) -> None:
    """Does one of the works, and says on stdout how it ended."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    try:
        if work == "train":
            train_all(data, out)
        else:
            config = replace(
                gallery_config(data),
                optimisation=replace(STEPS, batch=4),
                execution=replace(ON_CPU, process_timeout=3),
            )
            train_and_fail(config, out / work, work)
    except (CompatError, MemoryError) as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
