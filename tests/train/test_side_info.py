"""Side-information encoders: what each method learns from, what it leaves behind, and that it can be resumed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.upgrade import SideInfoConfig
from compat_train.data.batches import Batches
from compat_train.methods import side_info
from compat_train.methods.side_info import mixing_of, train_side_info
from compat_train.models.decoder import Decoder
from compat_train.runs.checkpoint import Checkpoint
from tests.train.descent import falls, small_steps

METHODS = ("simclr", "autoencoder", "alternate", "mixup")


class Stop(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


def config_of(data: Path, method: str = "simclr", *, epochs: int = 2) -> SideInfoConfig:
    return SideInfoConfig(
        source=Source(data=str(data)),
        method=method,  # type: ignore[arg-type]
        arch="resnet18",
        width=0.0625,
        dim=8,
        preprocessing=Preprocessing(size=28),
        channels=16,
        optimisation=Optimisation(epochs=epochs, batch=16, lr=0.05),
        execution=Execution(device="cpu", checkpoint_steps=1),
    )


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module", params=METHODS)
def whole(request: pytest.FixtureRequest, clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A finished run of each method."""
    return train_side_info(config_of(clothes, request.param), tmp_path_factory.mktemp("whole") / "run")


def test_each_method_trains_an_encoder_with_a_space_of_its_own(whole: Checkpoint, clothes: Path) -> None:
    done, method = whole, whole.method
    config = config_of(clothes, method)
    assert (done.role, done.method, done.dim, done.searches) == ("side-info", method, 8, ())
    loaded = Checkpoint.load(done.path)
    assert loaded.space == done.space and loaded.role == "side-info"
    assert loaded.build()(torch.zeros(2, 3, 28, 28)).shape == (2, 8)
    assert bool(loaded.classes) == config.labelled == (loaded.classifier is not None)
    assert not any(name.startswith(("head.layers", "decoder")) for name in loaded.state)
    assert train_side_info(config, done.path).space == done.space
    with pytest.raises(TrainingError, match="other settings"):
        train_side_info(replace(config, dim=16), done.path)


def test_a_run_that_was_stopped_ends_with_the_same_weights(whole: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done == 3:
            raise Stop

    config = config_of(clothes, whole.method)
    with pytest.raises(Stop):
        train_side_info(config, tmp_path / "parts", progress)
    train_side_info(config, tmp_path / "parts")
    assert weights(tmp_path / "parts") == weights(whole.path)


@pytest.mark.parametrize("method", ["simclr", "autoencoder"])
def test_methods_without_labels_do_not_look_at_them(method: str, clothes: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    # The same images in the same order under other names, two of the four classes made one.
    names = sorted(folder.name for folder in (clothes / "train").iterdir())
    for number, name in enumerate(names):
        folder = renamed / "train" / f"{min(number, 2)}"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((clothes / "train" / name).iterdir()):
            (folder / f"{number}-{path.name}").symlink_to(path)
    for out, data in (("a", clothes), ("b", renamed)):
        train_side_info(config_of(data, method), tmp_path / out)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize(("method", "term"), [("simclr", "simclr"), ("autoencoder", "reconstruction")])
def test_training_without_labels_lowers_its_own_loss(
    method: str, term: str, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flips = itertools.cycle((False, True))

    def the_image_and_its_mirror(images: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        return (images.flip(3) if next(flips) else images), None

    # Random views would make each step another loss.
    monkeypatch.setattr(side_info, "augment", the_image_and_its_mirror)
    config = replace(config_of(clothes, method), optimisation=small_steps(lr=0.003))
    train_side_info(config, tmp_path / "run")
    assert falls(tmp_path / "run", term)


@pytest.mark.parametrize("size", [28, 32, 45])
def test_the_decoder_gives_images_of_any_size(size: int) -> None:
    images = Decoder(dim=8, size=size, channels=16)(torch.randn(3, 8))
    assert images.shape == (3, 3, size, size) and images.min() >= 0 and images.max() <= 1


def test_mixup_keeps_the_better_share_and_repeats_with_the_step() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 4, 4, 3), np.uint8)
    batches = Batches(
        pixels,
        np.zeros(32, np.int64),
        batch=8,
        seed=0,
        augmentation=Augmentation(),
        device=torch.device("cpu"),
    )
    shares = [mixing_of(batches.at(step), 0.2)[0] for step in range(40)]
    assert min(shares) >= 0.5 and max(shares) <= 1 and np.std(shares) > 0.01
    share, partner = mixing_of(batches.at(3), 0.2)
    again = mixing_of(batches.at(3), 0.2)
    assert share == again[0] and torch.equal(partner, again[1])
    assert sorted(partner.tolist()) == list(range(8))


def test_settings_that_cannot_work_are_refused(clothes: Path) -> None:
    config = config_of(clothes)
    with pytest.raises(ConfigError, match="both would be the same"):
        replace(config, augmentation=Augmentation())
    with pytest.raises(ConfigError, match="expected one of simclr"):
        replace(config, method="none")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mixing"):
        replace(config, mixing=0.0)
