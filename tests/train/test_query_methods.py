"""What each method of CMP-NAS, Eq. 1, learns from, and what it declares."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from compat_sdk.errors import ConfigError, DataError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.data.batches import Batches, normalise
from compat_train.methods.gallery import train_gallery
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.query import train_query
from compat_train.runs.checkpoint import Checkpoint
from tests.train.descent import falls, small_steps

QUICK = Optimisation(epochs=1, batch=16, lr=0.05)
CPU = Execution(device="cpu")


@pytest.fixture(scope="module")
def gallery(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = GalleryConfig(
        source=Source(data=str(clothes)),
        arch="resnet18",
        width=0.125,
        dim=16,
        preprocessing=Preprocessing(size=28),
        optimisation=Optimisation(epochs=2, batch=16, lr=0.1),
        execution=CPU,
    )
    return train_gallery(config, tmp_path_factory.mktemp("gallery") / "run")


def train(gallery: Checkpoint, data: Path, out: Path, **values: object) -> Checkpoint:
    settings = {"arch": "resnet18", "width": 0.0625, "optimisation": QUICK, "execution": CPU} | values
    return train_query(QueryConfig(source=Source(data=str(data)), gallery=str(gallery.path), **settings), out)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["vanilla", "kd", "finetune", "bct", "classifier", "regression", "bct-regression"])
def test_each_method_trains_and_declares_only_what_it_learned(
    method: str, gallery: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    query = train(gallery, clothes, tmp_path / "run", method=method)
    assert query.dim == gallery.dim and query.preprocessing == gallery.preprocessing
    assert query.space != gallery.space
    assert query.searches == (() if method in ("vanilla", "kd") else (gallery.space,))
    assert Checkpoint.load(tmp_path / "run").space == query.space
    terms = {"vanilla": {"own"}, "kd": {"own", "kd"}, "finetune": {"own"}, "bct": {"own", "gallery"}}
    if method in terms:
        row = (tmp_path / "run" / "log.jsonl").read_text().splitlines()[0]
        assert all((f'"{name}"' in row) == (name in terms[method]) for name in ("own", "gallery", "kd", "regression"))


def test_a_batch_larger_than_the_set_is_refused_before_the_gallery_model_embeds_it(
    gallery: Checkpoint, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[object] = []
    monkeypatch.setattr("compat_train.methods.objective.GalleryOutputs", lambda *_, **__: embedded.append(1))
    with pytest.raises(ConfigError, match="batch is 100000 but the training split has only"):
        train(gallery, clothes, tmp_path / "run", method="regression", optimisation=Optimisation(batch=100_000))
    assert not embedded


def test_the_gallery_run_is_untouched_by_bct(gallery: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    before = (gallery.path / "model.safetensors").read_bytes()
    train(gallery, clothes, tmp_path / "run", method="bct")
    assert (gallery.path / "model.safetensors").read_bytes() == before


def test_finetuning_starts_from_the_gallery_weights(gallery: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    still = Optimisation(epochs=1, batch=16, lr=1e-12)
    query = train(gallery, clothes, tmp_path / "run", method="finetune", width=0.125, optimisation=still)
    for name, value in query.state.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(value, gallery.state[name], atol=1e-6), name


def test_finetuning_another_architecture_is_refused_with_advice(
    gallery: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"resnet18, width 0.125 or less.*use bct"):
        train(gallery, clothes, tmp_path / "run", method="finetune", arch="mobilenet_v2")


def test_the_regression_term_falls_when_it_is_trained(gallery: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    train(gallery, clothes, tmp_path / "run", method="regression", optimisation=small_steps(lr=0.001))
    assert falls(tmp_path / "run", "regression")


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(flip=True), Augmentation(shift=0.1)])
def test_cached_gallery_outputs_equal_the_gallery_model_on_the_batch(
    augmentation: Augmentation, gallery: Checkpoint, clothes: Path
) -> None:
    from compat_train.data.training_set import load_training_set

    data = load_training_set(Source(data=str(clothes)), gallery.preprocessing)
    device = torch.device("cpu")
    outputs = GalleryOutputs(gallery, data.pixels, augmentation, device)
    assert outputs.cached == (augmentation.views is not None)
    batch = Batches(data.pixels, data.labels, batch=16, seed=0, augmentation=augmentation, device=device).at(1)
    with torch.no_grad():
        expected = gallery.build()(normalise(batch.images, gallery.preprocessing))
    similarity = torch.nn.functional.cosine_similarity(outputs.of_batch(batch), expected)
    assert torch.allclose(similarity, torch.ones(16), atol=1e-5)


def test_a_class_that_the_gallery_never_saw_is_no_hindrance_unless_its_logits_are_needed(
    gallery: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    for split in ("train", "query", "gallery"):
        for folder in (clothes / split).iterdir():
            (more / split).mkdir(parents=True, exist_ok=True)
            (more / split / folder.name).symlink_to(folder)
    (more / "train" / "unseen").mkdir()
    for path in next((clothes / "train").iterdir()).iterdir():
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(more / "train" / "unseen" / path.name)
    assert train(gallery, more, tmp_path / "run", method="bct").searches == (gallery.space,)
    with pytest.raises(TrainingError, match=r"unknown to the gallery model.*unseen"):
        train(gallery, more, tmp_path / "kd", method="kd")


def test_a_dataset_without_a_training_split_is_refused_before_any_step(
    gallery: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    only = tmp_path / "only"
    only.mkdir()
    (only / "query").symlink_to(clothes / "query")
    with pytest.raises(DataError, match="train"):
        train(gallery, only, tmp_path / "run", method="bct")


def test_an_unfinished_gallery_run_is_named(clothes: Path, tmp_path: Path) -> None:
    (tmp_path / "half" / "state").mkdir(parents=True)
    with pytest.raises(TrainingError, match="has not finished"):
        Checkpoint.load(tmp_path / "half")
