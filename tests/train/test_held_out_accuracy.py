"""What a finished gallery model finds among pictures that it has not learnt from, and that only once."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from compat_cli.app import app
from compat_sdk.datasets import open_dataset
from compat_sdk.errors import CorruptFileError
from compat_sdk.files.seal import sealed_json
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Source
from compat_train.evaluation import held_out
from compat_train.evaluation.held_out import HeldOut, held_out_accuracy, held_out_once
from compat_train.runs.checkpoint import Checkpoint
from tests.train.test_evaluate import save_run

PICTURES = (("a", 0), ("a", 0), ("a", 0), ("a", 0), ("b", 1), ("b", 1), ("b", 2), ("c", 3), ("c", 2), ("d", 3))
"""Label, and which picture: equal ones find each other, whatever network embeds them."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    pictures = open_dataset("sample").splits["query"].images
    for number, (label, which) in enumerate(PICTURES):
        for split, row in (("train", 10 + number), ("val", which)):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pictures[row])).save(folder / split / label / f"{number}.png")
    return folder


@pytest.fixture
def done(tmp_path: Path) -> Checkpoint:
    return save_run(tmp_path / "run", 3, arch="global:plain:16:s3c3s3", width=1.0)


@pytest.fixture
def config(photos: Path) -> GalleryConfig:
    return GalleryConfig(source=Source(data=str(photos)))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    """The models that were measured."""
    asked: list[Checkpoint] = []

    def measure(done: Checkpoint, config: GalleryConfig) -> HeldOut | None:
        asked.append(done)
        return held_out_accuracy(done, config)

    monkeypatch.setattr(held_out, "held_out_accuracy", measure)
    return asked


def test_each_picture_searches_the_others_and_guessing_is_counted_for_the_same(
    done: Checkpoint, config: GalleryConfig
) -> None:
    found = held_out_accuracy(done, config)
    # Of label a all four find another, of b the two that are alike, of c none; d has no other and does not ask.
    assert found == HeldOut(pytest.approx(6 / 9), pytest.approx((4 * 3 + 3 * 2 + 2 * 1) / 81), queries=9, gallery=9)


@pytest.mark.parametrize("drop", ["val", "labels that occur twice"])
def test_there_is_nothing_to_measure_without_a_val_split_or_two_of_a_label(
    drop: str, done: Checkpoint, photos: Path, tmp_path: Path
) -> None:
    for file in sorted(photos.rglob("*.png")):
        other = tmp_path / "photos" / file.relative_to(photos)
        split = other.parts[-3]
        if split == "train" or (drop != "val" and not (other.parent.is_dir() and list(other.parent.iterdir()))):
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(file.read_bytes())
    config = GalleryConfig(source=Source(data=str(tmp_path / "photos")))
    assert held_out_once(done, config) is None and not (done.path / "held_out.json").exists()


def test_a_finished_run_is_measured_once_and_a_model_of_another_space_again(
    done: Checkpoint, config: GalleryConfig, measured: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = held_out_once(done, config)
    assert first == held_out_once(done, config) and len(measured) == 1
    other = dataclasses.replace(done, space="another-16-0123456789ab")
    assert held_out_once(other, config) == first and len(measured) == 2
    assert held_out_once(other, config) == first and len(measured) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: json.dumps(kept | {"accuracy": 1.0}).encode(),
        lambda kept: sealed_json({"space": kept["space"], "accuracy": "high"}),
        lambda _: b"[]",
    ],
    ids=["changed", "of other fields", "no object"],
)
def test_what_was_kept_and_changed_since_is_refused(
    change: Callable[[dict[str, object]], bytes], done: Checkpoint, config: GalleryConfig
) -> None:
    held_out_once(done, config)
    path = done.path / "held_out.json"
    path.write_bytes(change(json.loads(path.read_text())))
    with pytest.raises(CorruptFileError, match=r"held_out\.json"):
        held_out_once(done, config)


def test_the_command_of_a_finished_run_says_the_same_and_measures_nothing(
    photos: Path, tmp_path: Path, measured: list[Checkpoint]
) -> None:
    small = ["--arch", "global:plain:16:s3c3s3", "--size", "28", "--dim", "8", "--epochs", "1", "--batch", "8"]
    command = ["train", "gallery", "--data", str(photos), "--out", str(tmp_path / "out"), *small, "--device", "cpu"]
    said = []
    for _ in range(2):
        result = CliRunner().invoke(app, [*command, "--json"])
        assert result.exit_code == 0, result.output
        said.append(json.loads(result.stdout)["held_out"])
    assert said[0] == said[1] and said[0]["queries"] == 9 and len(measured) == 1


def test_a_run_that_cannot_be_written_to_is_measured_all_the_same(
    done: Checkpoint, config: GalleryConfig, measured: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, _: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(held_out, "write_atomic", read_only)
    assert held_out_once(done, config) == held_out_once(done, config) is not None
    assert len(measured) == 2
