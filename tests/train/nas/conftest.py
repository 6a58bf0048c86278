"""A folder dataset with validation identities, a gallery model, and the smallest search over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compat_sdk.datasets import open_dataset
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.methods.gallery import train_gallery
from compat_train.nas.cmp.config import CmpConfig, SearchConfig, SupernetConfig, ValidationConfig
from tests.train.folders import write_identities

SPACE = "shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=16"


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open set of real images."""
    return write_identities(tmp_path_factory.mktemp("identities"), open_dataset("sample"))


@pytest.fixture(scope="session")
def gallery_run(identities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "gallery"
    train_gallery(
        GalleryConfig(
            source=Source(data=str(identities)),
            arch="resnet18",
            width=0.125,
            dim=16,
            preprocessing=Preprocessing(size=32),
            optimisation=Optimisation(epochs=2, batch=16, lr=0.05),
            execution=Execution(device="cpu", threads=1),
        ),
        run,
    )
    return run


@pytest.fixture(scope="session")
def smallest(identities: Path, gallery_run: Path) -> CmpConfig:
    """A search of seconds: 5 blocks, 2 rounds of 4 members, one network retrained."""
    schedule = Optimisation(epochs=1, batch=16, lr=0.05)
    return CmpConfig(
        source=Source(data=str(identities)),
        gallery=str(gallery_run),
        mmacs=(0.6,),
        space=SPACE,
        supernet=SupernetConfig(optimisation=replace(schedule, epochs=2), operation_warmup=0.2, channel_warmup=0.4),
        search=SearchConfig(population=4, parents=2, crossovers=1, mutations=2, rounds=2),
        validation=ValidationConfig(calibration=32, batch=16),
        retrain=schedule,
        keep=1,
        static=(),
        execution=Execution(device="cpu", threads=1),
    )
