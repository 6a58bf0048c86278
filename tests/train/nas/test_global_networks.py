"""Networks of the global search as gallery, query and side-information models, on views with cutout."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.run import prepare
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.runs.checkpoint import Checkpoint

CPU = Execution(device="cpu", threads=1)
SHORT = Optimisation(epochs=1, batch=16, lr=0.05)
CUTOUT = Augmentation(cutout=0.5)
# Residual ones of 8 channels and more: torch 2.13 on AVX2 writes beyond its memory in the backward pass of a 1x1
# convolution of stride 2 with fewer input channels, channels last.
PLAIN, RESIDUAL = "global:plain:4:s3c5s5c3", "global:residual,stages=2:8:s3c3c5s5"


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def config(clothes: Path) -> GalleryConfig:
    return GalleryConfig(
        source=Source(data=str(clothes)),
        arch=PLAIN,
        dim=8,
        preprocessing=Preprocessing(size=28),
        optimisation=SHORT,
        augmentation=CUTOUT,
        execution=CPU,
    )


@pytest.fixture(scope="module")
def gallery(config: GalleryConfig, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return train_gallery(config, tmp_path_factory.mktemp("runs") / "gallery")


def test_a_searched_network_is_a_gallery_model_in_a_space_with_a_short_name(gallery: Checkpoint) -> None:
    loaded = Checkpoint.load(gallery.path)
    assert loaded.arch == PLAIN and loaded.space.startswith("global-8-") and len(loaded.space) == 25
    assert loaded.build()(torch.zeros(2, 3, 28, 28)).shape == (2, 8)


def test_cutout_changes_what_a_gallery_model_learns(config: GalleryConfig, gallery: Checkpoint, tmp_path: Path) -> None:
    train_gallery(replace(config, augmentation=Augmentation()), tmp_path / "whole")
    assert weights(tmp_path / "whole") != weights(gallery.path)


def test_a_searched_query_model_learns_from_views_with_cutout(
    gallery: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    query = QueryConfig(
        source=Source(data=str(clothes)),
        gallery=str(gallery.path),
        arch=RESIDUAL,
        optimisation=SHORT,
        augmentation=CUTOUT,
        execution=CPU,
    )
    done = train_query(query, tmp_path / "query")
    assert (done.arch, done.searches) == (RESIDUAL, (gallery.space,))
    with pytest.raises(ConfigError, match="leave width out"):
        train_query(replace(query, width=0.5), tmp_path / "half")


@pytest.mark.parametrize("method", ["simclr", "alternate"])
def test_side_information_and_an_upgrade_with_it_learn_from_views_with_cutout(
    method: str, config: GalleryConfig, gallery: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    side = SideInfoConfig(
        source=Source(data=str(clothes)),
        method=method,  # type: ignore[arg-type]
        arch=PLAIN,
        dim=8,
        preprocessing=Preprocessing(size=28),
        optimisation=SHORT,
        augmentation=CUTOUT,
        execution=CPU,
    )
    train_side_info(side, tmp_path / "side")
    train_gallery(replace(config, execution=replace(CPU, seed=1)), tmp_path / "old")
    upgrade = UpgradeConfig(
        source=Source(data=str(clothes)),
        old=str(tmp_path / "old"),
        new=str(gallery.path),
        side_info=str(tmp_path / "side"),
        hidden=16,
        optimisation=SHORT,
        augmentation=CUTOUT,
        execution=CPU,
    )
    train_upgrade(upgrade, tmp_path / "upgrade")
    train_upgrade(replace(upgrade, augmentation=Augmentation()), tmp_path / "whole")
    assert weights(tmp_path / "upgrade") != weights(tmp_path / "whole")


def test_a_supernet_learns_from_views_with_cutout(smallest: CmpConfig, tmp_path: Path) -> None:
    prepared = prepare(smallest, tmp_path)
    whole, cut = (
        train_supernet(replace(smallest, augmentation=views), prepared.gallery, prepared.data, tmp_path / name)
        for name, views in (("whole", Augmentation()), ("cut", CUTOUT))
    )
    assert whole.read_bytes() != cut.read_bytes()
