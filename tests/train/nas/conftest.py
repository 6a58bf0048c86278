"""A folder dataset with validation identities, a gallery model, and the smallest search over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.dataset import open_dataset
from compat_sdk.preprocess import Preprocessing
from compat_train.config import Execution, GalleryConfig, Optimisation, Source
from compat_train.methods.gallery import train_gallery
from compat_train.nas.config import CmpConfig, SearchConfig, SupernetConfig, ValidationConfig

SPACE = "shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=16"
COUNTS = {"train": (slice(0, 4), 12), "val": (slice(4, 7), 8), "query": (slice(7, 10), 4), "gallery": (slice(7, 10), 6)}


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open set of real images: 4 identities to train on, 3 to validate, 3 to search."""
    root = tmp_path_factory.mktemp("identities")
    dataset = open_dataset("sample")
    names = sorted(set(dataset.splits["train"].labels))
    for split, (part, count) in COUNTS.items():
        source = dataset.splits[split if split in ("query", "gallery") else "train"]
        labels = np.array(source.labels)
        for name in names[part]:
            folder = root / split / name.replace("/", "-")
            folder.mkdir(parents=True)
            for number, row in enumerate(np.flatnonzero(labels == name)[:count]):
                Image.fromarray(np.asarray(source.images[int(row)])).save(folder / f"{number:02d}.png")
    return root


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


@pytest.fixture
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
