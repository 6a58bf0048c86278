"""What the gallery model makes of views: once each, from its own preprocessing, kept for other trainings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, cosine_similarity

from compat_cli.settings.told import Told
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import Preprocessing, decode_many
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_to_json
from compat_train.data.batches import Batch, normalise
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.embed import embed_images
from compat_train.methods.gallery import train_gallery
from compat_train.methods.gallery_outputs import GalleryOutputs, plain_outputs
from compat_train.methods.query import train_query
from compat_train.methods.shown import plain_images, shown_images
from compat_train.runs.checkpoint import Checkpoint
from tests.golden.files import HERE

GALLERY = HERE / "0.7" / "runs" / "gallery"
CPU = torch.device("cpu")
FIXED = Augmentation(flip=True, shift=0.1, random_crop=0.5, colour=0.2, fixed_views=2)
OWN = Preprocessing(size=20, mean=(0.3, 0.4, 0.5), std=(0.2, 0.25, 0.3), channels="bgr", resize="bilinear")
ONE_EPOCH = Optimisation(epochs=1, batch=8, lr=0.05, warmup_epochs=0.0)


@pytest.fixture(scope="module")
def gallery() -> Checkpoint:
    return Checkpoint.load(GALLERY)


@pytest.fixture(scope="module")
def data(gallery: Checkpoint, clothes: Path) -> TrainingSet:
    return load_training_set(Source(data=str(clothes)), gallery.preprocessing)


def config(clothes: Path, **values: Any) -> QueryConfig:
    settings: dict[str, Any] = {
        "source": Source(data=str(clothes)),
        "gallery": str(GALLERY),
        "method": "regression",
        "arch": "resnet18",
        "width": 0.0625,
        "optimisation": ONE_EPOCH,
        "execution": Execution(device="cpu"),
        "watch": 0,
    }
    return QueryConfig(**settings | values)


def batch_of(data: TrainingSet, augmentation: Augmentation, preprocessing: Preprocessing, step: int = 4) -> Batch:
    return data.batches(ONE_EPOCH, Execution(), augmentation, preprocessing, CPU).at(step)


@torch.no_grad()
def by_the_model(gallery: Checkpoint, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = gallery.build()(normalise(images, gallery.preprocessing))
    return found


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), Augmentation(flip=True), FIXED], ids=["plain", "flip", "fixed"]
)
def test_what_is_kept_is_what_the_model_makes_of_the_batch(
    augmentation: Augmentation, gallery: Checkpoint, data: TrainingSet, tmp_path: Path
) -> None:
    for kept in (None, tmp_path):
        outputs = GalleryOutputs(gallery, data.pixels, augmentation, CPU, kept=kept)
        assert outputs.cached
        for step in (0, 7):  # of the first and the second epoch
            batch = batch_of(data, augmentation, gallery.preprocessing, step)
            similar = cosine_similarity(outputs.of_batch(batch), by_the_model(gallery, batch.images))
            assert torch.allclose(similar, torch.ones(8), atol=1e-5)


def test_kept_outputs_serve_the_next_training_without_the_model(
    gallery: Checkpoint, data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = GalleryOutputs(gallery, data.pixels, FIXED, CPU, kept=tmp_path)
    monkeypatch.setattr(Checkpoint, "build", None)
    again = GalleryOutputs(gallery, data.pixels, FIXED, CPU, kept=tmp_path)
    batch = batch_of(data, FIXED, gallery.preprocessing)
    assert torch.equal(first.of_batch(batch), again.of_batch(batch))


def test_kept_outputs_serve_no_other_images_views_or_models(
    gallery: Checkpoint, data: TrainingSet, tmp_path: Path
) -> None:
    darker = replace(gallery, preprocessing=replace(gallery.preprocessing, mean=(0.8, 0.8, 0.8)))
    changed = np.array(data.pixels)
    changed[-1, 0, 0, 0] ^= 1
    for model, pixels, augmentation in (
        (gallery, data.pixels, FIXED),
        (darker, data.pixels, FIXED),
        (replace(gallery, space="another-8-0123456789ab"), data.pixels, FIXED),
        (gallery, changed, FIXED),
        (gallery, data.pixels[:-1], FIXED),
        (gallery, data.pixels, replace(FIXED, views_seed=1)),
        (gallery, data.pixels, replace(FIXED, fixed_views=3)),
        (gallery, data.pixels, replace(FIXED, random_crop=0.4)),
        (gallery, data.pixels, Augmentation()),
        (gallery, data.pixels, Augmentation(flip=True)),
    ):
        GalleryOutputs(model, pixels, augmentation, CPU, kept=tmp_path)
    assert len(list(tmp_path.glob("*.vectors"))) == 10


def test_the_plain_view_is_exactly_what_the_model_sees_of_the_file(
    gallery: Checkpoint, data: TrainingSet, clothes: Path
) -> None:
    files = sorted((clothes / "train").rglob("*.png"))
    pixels = decode_many(files, gallery.preprocessing)
    outputs = GalleryOutputs(gallery, data.pixels, Augmentation(), CPU)
    batch = batch_of(data, Augmentation(), OWN)
    of_files = embed_images(gallery.build(), pixels, gallery.preprocessing, channels_last=True)
    assert torch.equal(outputs.of_batch(batch), torch.from_numpy(of_files[batch.index.numpy()]))
    rows = np.array([5, 0, 47])
    assert np.allclose(plain_outputs(gallery, data.pixels, rows, CPU).numpy(), of_files[rows], atol=1e-6)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(shift=0.1, flip=True, colour=0.2),
        replace(FIXED, canvas=40),
        replace(FIXED, fixed_views=0),
    ],
    ids=["plain", "moved", "fixed crops", "endless crops"],
)
def test_two_models_of_different_sizes_are_shown_the_same_views(
    augmentation: Augmentation, gallery: Checkpoint, data: TrainingSet, clothes: Path, tmp_path: Path
) -> None:
    small = replace(gallery.preprocessing, size=gallery.preprocessing.size // 2, mean=OWN.mean)
    told = config(clothes, preprocessing=small, augmentation=augmentation)
    shown = shown_images(told, gallery, data, cache=tmp_path, kept=None)
    assert shown.preprocessing == small and not shown.shared
    source = shown.seen.pixels if augmentation.random_crop else data.pixels
    assert shown.pixels is source, "crops of both models are taken from one canvas"
    batch = batch_of(shown.seen, augmentation, small)
    outputs = GalleryOutputs(gallery, shown.pixels, augmentation, CPU, sees_batches=shown.shared)
    theirs = outputs.images_of(batch)
    assert batch.images.shape[-1] == small.size and theirs.shape[-1] == gallery.preprocessing.size
    assert (avg_pool2d(theirs, 2) - batch.images).abs().mean() < 0.05
    assert (avg_pool2d(theirs, 2) - batch.images.roll(1, 0)).abs().mean() > 0.1, "other images would pass too"
    similar = cosine_similarity(outputs.of_batch(batch), by_the_model(gallery, theirs))
    assert torch.allclose(similar, torch.ones(8), atol=1e-5)


def test_what_differs_in_mean_alone_shares_views_unless_a_square_is_blanked_with_it(
    gallery: Checkpoint, data: TrainingSet, clothes: Path, tmp_path: Path
) -> None:
    other = replace(gallery.preprocessing, mean=(0.1, 0.2, 0.3))
    for cutout, shared in ((0.0, True), (0.3, False)):
        told = config(clothes, preprocessing=other, augmentation=Augmentation(cutout=cutout, flip=True))
        shown = shown_images(told, gallery, data, cache=tmp_path, kept=None)
        assert shown.shared == shared and shown.seen is data


@pytest.mark.parametrize("method", ["regression", "csd"])
@pytest.mark.parametrize("augmentation", [Augmentation(), FIXED], ids=["plain", "fixed"])
def test_a_query_model_of_its_own_size_and_mean_trains_and_says_so(
    method: str, augmentation: Augmentation, clothes: Path, tmp_path: Path
) -> None:
    told = config(clothes, method=method, preprocessing=OWN, augmentation=augmentation, mixed=method == "regression")
    query = train_query(told, tmp_path / "run")
    assert query.preprocessing == OWN == Checkpoint.load(tmp_path / "run").preprocessing
    assert not (tmp_path / "run" / "embeddings").exists(), "of a finished run, nothing needs them"


def test_the_query_model_is_given_its_own_normalisation(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Preprocessing, int]] = []

    def watch(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
        seen.append((preprocessing, images.shape[-1]))
        return normalise(images, preprocessing)

    monkeypatch.setattr("compat_train.methods.objective.normalise", watch)
    train_query(config(clothes, preprocessing=OWN), tmp_path / "run")
    assert set(seen) == {(OWN, 20)}


def test_one_folder_keeps_outputs_for_trainings_of_other_seeds(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = config(clothes, augmentation=FIXED, teacher_outputs=str(tmp_path / "kept"))
    train_query(told, tmp_path / "one")
    files = {file: file.read_bytes() for file in (tmp_path / "kept").iterdir()}
    assert len(files) == 3  # the vectors, their record and the lock
    monkeypatch.setattr("compat_train.methods.gallery_outputs._Frozen.model", property(lambda _: 1 / 0))
    train_query(replace(told, execution=Execution(device="cpu", seed=1)), tmp_path / "two")
    assert {file: file.read_bytes() for file in (tmp_path / "kept").iterdir()} == files


def test_a_folder_with_anything_else_keeps_no_outputs(clothes: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.txt"):
        train_query(config(clothes, teacher_outputs=str(tmp_path / "kept")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_part_of_a_preprocessing_lies_over_the_gallery_models(gallery: Checkpoint, clothes: Path) -> None:
    values = {"source": {"data": str(clothes)}, "gallery": str(GALLERY), "preprocessing": {"size": 20}}
    told = Told(values, {}).config(QueryConfig, like="gallery")
    assert told.preprocessing == replace(gallery.preprocessing, size=20)
    assert Told({**values, "preprocessing": None}, {}).config(QueryConfig, like="gallery").preprocessing is None


def test_settings_of_older_runs_say_nothing_of_what_came_later(clothes: Path) -> None:
    assert not {"preprocessing", "teacher_outputs"} & config_to_json(config(clothes)).keys()


def test_other_images_for_the_trained_model_are_refused(
    gallery: Checkpoint, data: TrainingSet, clothes: Path, tmp_path: Path
) -> None:
    part = TrainingSet(data.pixels[:20], data.labels[:20], data.classes)
    with pytest.raises(DataError, match="48 images, and 20 others"):
        plain_images(config(clothes, preprocessing=OWN), gallery, part, cache=tmp_path)


def test_a_model_known_by_its_vectors_alone_is_learnt_from_by_the_names_of_images(
    gallery: Checkpoint, data: TrainingSet, clothes: Path, tmp_path: Path
) -> None:
    of_files = embed_images(gallery.build(), data.pixels, gallery.preprocessing)
    order = np.random.default_rng(0).permutation(len(of_files))
    names = np.frombuffer(json.dumps([data.ids[row] for row in order]).encode(), np.uint8).copy()
    known = replace(
        gallery,
        path=tmp_path / "known",
        arch="vectors",
        space="known-8-0123456789abcdef",
        classifier=None,
        classes=(),
        state={"vectors": torch.from_numpy(of_files[order]), "ids": torch.from_numpy(names)},
    )
    outputs = GalleryOutputs(known, data.pixels, FIXED, CPU, ids=data.ids)
    batch = batch_of(data, FIXED, OWN)
    assert torch.equal(outputs.of_batch(batch), torch.from_numpy(of_files[batch.index.numpy()]))
    rows = np.array([5, 0, 47])
    assert np.array_equal(plain_outputs(known, data.pixels, rows, CPU, ids=data.ids).numpy(), of_files[rows])
    with pytest.raises(DataError, match=r"1 of 48 pictures .* have no vector"):
        GalleryOutputs(known, data.pixels, FIXED, CPU, ids=("another.png", *data.ids[1:]))
    with pytest.raises(DataError, match="have no names to find them by"):
        plain_outputs(known, data.pixels, rows, CPU)


def test_a_killed_training_goes_on_from_kept_outputs_to_the_same_weights(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Optimisation(epochs=2, batch=16, lr=0.05, warmup_epochs=0.0)
    execution = Execution(device="cpu", checkpoint_steps=2)
    told = config(clothes, preprocessing=OWN, augmentation=FIXED, optimisation=schedule, execution=execution)
    whole = train_query(told, tmp_path / "whole")

    def killed(stage: str, done: int, _: int, __: object) -> None:
        if stage.startswith("train query") and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_query(told, tmp_path / "run", killed)
    assert list((tmp_path / "run" / "embeddings").glob("*.vectors"))
    monkeypatch.setattr("compat_train.methods.gallery_outputs._Frozen.model", property(lambda _: 1 / 0))
    again = train_query(told, tmp_path / "run")
    assert again.space == whole.space and all(
        torch.equal(value, again.state[key]) for key, value in whole.state.items()
    )


def test_a_gallery_model_takes_its_crops_from_the_canvas(clothes: Path, tmp_path: Path) -> None:
    told = GalleryConfig(
        source=Source(data=str(clothes)),
        arch="resnet18",
        width=0.0625,
        dim=8,
        preprocessing=Preprocessing(size=20),
        augmentation=Augmentation(random_crop=0.6, canvas=32),
        optimisation=ONE_EPOCH,
        execution=Execution(device="cpu"),
    )
    assert train_gallery(told, tmp_path / "run").preprocessing == Preprocessing(size=20)
    (decoded,) = (tmp_path / "run" / "pixels").glob("*.pixels")
    assert decoded.stat().st_size == 48 * 32 * 32 * 3
