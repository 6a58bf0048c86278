"""The uncertainty of a transform, and the benchmark that orders a gallery by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.studies.upgrades.backfill import curves
from compat_sdk.datasets import open_dataset
from compat_sdk.errors import TrainingError, VectorError
from compat_sdk.images import Preprocessing
from compat_sdk.metrics import rank_correlation
from compat_sdk.progress import Progress
from compat_sdk.space import TransformSpaces
from compat_sdk.upgrade.backfill import alignment_errors
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.methods.gallery import train_gallery
from compat_train.methods.uncertainty import log_variances, train_uncertainty
from compat_train.models.transform import ForwardAdaptation
from compat_train.models.uncertainty import LogVariance
from compat_train.runs.transform_run import TransformRun

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def upgraded() -> tuple[Vectors, Vectors, Vectors]:
    """Inputs whose first component decides how wrong the transform is."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(3000, 8)).astype(np.float32)
    new = random.normal(size=(3000, 6))
    wrong = 0.3 / (1 + np.exp(-2 * inputs[:, :1]))
    unit = [
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (new, new + wrong * random.normal(size=new.shape))
    ]
    return inputs, unit[1].astype(np.float32), unit[0].astype(np.float32)


def schedule(epochs: int, batch: int) -> Optimisation:
    return Optimisation(epochs=epochs, batch=batch, lr=1e-3, weight_decay=0.0, warmup_epochs=0.0, optimiser="adam")


def test_it_finds_which_rows_of_others_are_wrong(upgraded: tuple[Vectors, Vectors, Vectors], tmp_path: Path) -> None:
    inputs, transformed, new = upgraded
    network = train_uncertainty(
        inputs[:2000], transformed[:2000], new[:2000], tmp_path, hidden=64, optimisation=schedule(40, 128)
    )
    found = log_variances(network, inputs[2000:])
    assert rank_correlation(found, inputs[2000:, 0]) > 0.9
    assert rank_correlation(found, alignment_errors(transformed[2000:], new[2000:])) > 0.5


def test_the_variance_has_the_size_of_the_squared_error(
    upgraded: tuple[Vectors, Vectors, Vectors], tmp_path: Path
) -> None:
    inputs, transformed, new = upgraded
    network = train_uncertainty(inputs, transformed, new, tmp_path, hidden=32, optimisation=schedule(10, 512))
    expected = float(np.square(transformed - new).mean())
    assert float(np.exp(log_variances(network, inputs)).mean()) == pytest.approx(expected, rel=0.2)


def test_the_same_seed_gives_the_same_network_and_the_global_generator_is_left_alone(
    upgraded: tuple[Vectors, Vectors, Vectors], tmp_path: Path
) -> None:
    parts = tuple(rows[:300] for rows in upgraded)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = (
        train_uncertainty(
            *parts,
            tmp_path / str(number),
            hidden=16,
            optimisation=schedule(2, 64),
            execution=Execution(device="cpu", seed=seed),
        )
        for number, seed in enumerate((3, 3, 4))
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(log_variances(first, parts[0]), log_variances(again, parts[0]))
    assert not np.array_equal(log_variances(first, parts[0]), log_variances(other, parts[0]))


def test_a_training_that_was_stopped_goes_on_to_the_same_network(
    upgraded: tuple[Vectors, Vectors, Vectors], tmp_path: Path
) -> None:
    parts = tuple(rows[:300] for rows in upgraded)

    def train(name: str, progress: Progress | None = None) -> LogVariance:
        return train_uncertainty(*parts, tmp_path / name, progress, hidden=16, optimisation=schedule(3, 64))

    def stop_in_the_third_epoch(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        assert stage == "train uncertainty" and total == 12
        if done == 10:
            raise KeyboardInterrupt

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", stop_in_the_third_epoch)
    steps: list[int] = []
    again = train("stopped", lambda stage, done, total, values: steps.append(done))
    assert steps == [9, 10, 11, 12]
    assert np.array_equal(log_variances(whole, parts[0]), log_variances(again, parts[0]))


def test_a_folder_of_other_vectors_is_refused(upgraded: tuple[Vectors, Vectors, Vectors], tmp_path: Path) -> None:
    inputs, transformed, new = (rows[:100] for rows in upgraded)
    train_uncertainty(inputs, transformed, new, tmp_path, hidden=8, optimisation=schedule(1, 50))
    with pytest.raises(TrainingError, match=r"started with other settings.*vectors"):
        train_uncertainty(-inputs, transformed, new, tmp_path, hidden=8, optimisation=schedule(1, 50))


def test_arrays_of_different_images_are_refused(upgraded: tuple[Vectors, Vectors, Vectors], tmp_path: Path) -> None:
    inputs, transformed, new = upgraded
    with pytest.raises(VectorError, match="expected the same images in each"):
        train_uncertainty(inputs[:10], transformed, new, tmp_path)


def test_the_benchmark_measures_every_order_from_run_folders(clothes: Path, tmp_path: Path) -> None:
    old, new = (
        train_gallery(
            GalleryConfig(
                source=Source(data=str(clothes)),
                arch="resnet18",
                width=0.125,
                dim=dim,
                preprocessing=Preprocessing(size=28),
                optimisation=Optimisation(epochs=1, batch=16),
                execution=Execution(device="cpu"),
            ),
            tmp_path / name,
        )
        for name, dim in (("old", 8), ("new", 16))
    )
    torch.manual_seed(0)
    (tmp_path / "psi").mkdir()
    TransformRun(
        path=tmp_path / "psi",
        method="dmu",
        kind="forward-adaptation",
        spaces=TransformSpaces(old.space, old.dim, None, None, new.space, new.dim),
        hidden=16,
        license="unspecified",
        config={},
        state=ForwardAdaptation(old=8, new=16, hidden=16).state_dict(),
    ).save()
    result = curves(open_dataset(str(clothes)), old.path, new.path, tmp_path / "psi", None, epochs=1)
    assert set(result["curves"]) == {"uncertainty", "oracle", "random-0", "random-1", "random-2"}
    assert len({curve["top1"][-1] for curve in result["curves"].values()}) == 1
    assert set(result["mean_top1"]) == {"uncertainty", "oracle", "random"}
