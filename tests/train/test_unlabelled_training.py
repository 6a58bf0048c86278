"""Training on pictures without labels: what can, what refuses before it decodes anything, and what is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.scenario import Scenario
from compat_train.data.training_set import load_training_set
from compat_train.methods.query import train_query
from compat_train.runs.checkpoint import Checkpoint
from tests.golden.files import HERE

GALLERY = HERE / "0.7" / "runs" / "gallery"
QUICK: dict[str, Any] = {
    "arch": "resnet18",
    "width": 0.0625,
    "optimisation": Optimisation(epochs=1, batch=8, lr=0.05, warmup_epochs=0.0),
    "execution": Execution(device="cpu"),
}


@pytest.fixture(scope="module")
def photos(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 48 training images of the clothes, in one folder, without their labels."""
    root = tmp_path_factory.mktemp("photos")
    for number, path in enumerate(sorted((clothes / "train").rglob("*.png"))):
        (root / f"{number}.png").write_bytes(path.read_bytes())
    return root


def config(photos: Path, **values: Any) -> QueryConfig:
    return QueryConfig(**{"source": Source(data=str(photos)), "gallery": str(GALLERY), **QUICK, **values})


def test_a_flat_folder_trains_a_model_towards_the_gallery(photos: Path, tmp_path: Path) -> None:
    query = train_query(config(photos, method="regression"), tmp_path / "run")
    assert query.classes == () and query.searches == (Checkpoint.load(GALLERY).space,)
    assert train_query(config(photos, method="regression"), tmp_path / "run").space == query.space


@pytest.mark.parametrize("method", ["vanilla", "kd", "finetune", "bct", "classifier", "bct-regression", "dmu", "lce"])
def test_a_method_that_needs_labels_refuses_a_flat_folder_before_decoding(
    method: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compat_train.data.training_set.decode_split", None)
    with pytest.raises(DataError, match=rf"\d+ images of train in .* have no labels, which method '{method}' needs"):
        train_query(config(photos, method=method), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_will_do_where_no_label_is_looked_at(clothes: Path, tmp_path: Path) -> None:
    only = next((clothes / "train").iterdir())
    (tmp_path / "one" / "train").mkdir(parents=True)
    (tmp_path / "one" / "train" / "only").symlink_to(only)
    source = Source(data=str(tmp_path / "one"))
    assert len(load_training_set(source, Preprocessing(size=8), labels_for=None).classes) == 1
    with pytest.raises(DataError, match="has 1 class; a classification loss needs at least 2"):
        load_training_set(source, Preprocessing(size=8))


def test_a_scenario_of_classes_needs_labels_and_one_of_images_does_not(photos: Path) -> None:
    half = Source(data=str(photos), scenario=Scenario(fraction=0.5))
    assert len(load_training_set(half, Preprocessing(size=8), labels_for=None).labels) == 24
    for scenario in (Scenario(classes="0"), Scenario(class_fraction=0.5)):
        with pytest.raises(DataError, match="which a scenario of classes needs"):
            load_training_set(Source(data=str(photos), scenario=scenario), Preprocessing(size=8), labels_for=None)
