"""A finished or half-finished run is of the data that it was made from; other data is refused, copies of it are not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from compat_sdk.errors import CorruptFileError, DataError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.data.origin import Origin
from compat_train.data.training_set import load_training_set
from compat_train.methods.gallery import train_gallery
from compat_train.runs.data_record import require_same_data, write_data_record


def config(data: Path) -> GalleryConfig:
    return GalleryConfig(
        source=Source(data=str(data)),
        arch="resnet18",
        width=0.125,
        dim=16,
        preprocessing=Preprocessing(size=28),
        optimisation=Optimisation(epochs=1, batch=16, lr=0.1),
        execution=Execution(device="cpu", checkpoint_steps=1),
    )


class Stop(BaseException):
    """Stands for whatever ends a process."""


def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
    if stage.startswith("train") and done == 2:
        raise Stop


@pytest.fixture
def data(clothes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clothes, tmp_path / "data"))


def add_class(data: Path) -> None:
    known = sorted((data / "train").iterdir())[0]
    (data / "train" / "new").mkdir()
    for file in known.iterdir():
        ImageOps.mirror(Image.open(file)).save(data / "train" / "new" / file.name)


def test_a_finished_run_is_not_taken_for_one_of_other_data(data: Path, tmp_path: Path) -> None:
    train_gallery(config(data), tmp_path / "run")
    train_gallery(config(data), tmp_path / "run")
    for file in data.rglob("*.png"):
        os.utime(file, (1, 1))  # the same bytes with another time: unpacked again
    train_gallery(config(data), tmp_path / "run")
    add_class(data)
    with pytest.raises(TrainingError, match=r"other data \(48 images of 4 classes then, 60 of 5 now"):
        train_gallery(config(data), tmp_path / "run")
    shutil.rmtree(data / "train" / "new")
    (tmp_path / "run" / "data.json").unlink()  # as version 0.7 left it
    add_class(data)
    assert len(train_gallery(config(data), tmp_path / "run").classes) == 4


def test_a_resumed_run_is_refused_other_data(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train_gallery(config(data), tmp_path / "run", stop)
    add_class(data)
    with pytest.raises(TrainingError, match="made from other data"):
        train_gallery(config(data), tmp_path / "run")


def test_data_that_never_got_to_a_resume_point_is_forgotten(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_data_record(run, load_training_set(config(data).source, Preprocessing(size=28)).origin)
    add_class(data)
    assert len(train_gallery(config(data), run).classes) == 5


def test_a_set_that_the_caller_decoded_is_compared_too(data: Path, tmp_path: Path) -> None:
    decoded = load_training_set(config(data).source, Preprocessing(size=28))
    train_gallery(config(data), tmp_path / "run", data=decoded)
    add_class(data)
    more = load_training_set(config(data).source, Preprocessing(size=28))
    with pytest.raises(TrainingError, match="made from other data"):
        train_gallery(config(data), tmp_path / "run", data=more)


def test_a_picture_of_as_many_bytes_another_label_or_id_is_other_data(tmp_path: Path) -> None:
    path = tmp_path / "x.bmp"
    Image.new("RGB", (4, 4), "red").save(path)
    write_data_record(tmp_path, Origin([path], ["a"], ["x"]))
    require_same_data(tmp_path, Origin([path], ["a"], ["x"]))
    for other in (Origin([path], ["b"], ["x"]), Origin([path], ["a"], ["y"]), Origin([], [], [])):
        with pytest.raises(TrainingError, match="made from other data"):
            require_same_data(tmp_path, other)
    Image.new("RGB", (4, 4), "blue").save(path)
    os.utime(path, (1, 1))
    with pytest.raises(TrainingError, match="files or labels changed"):
        require_same_data(tmp_path, Origin([path], ["a"], ["x"]))


def test_pictures_in_an_array_are_known_by_their_content(tmp_path: Path) -> None:
    rows = np.zeros((3, 4, 4), np.uint8)
    write_data_record(tmp_path, Origin(rows, "abc", ()))
    require_same_data(tmp_path, Origin(rows.copy(), "abc", ()))
    with pytest.raises(TrainingError, match="made from other data"):
        require_same_data(tmp_path, Origin(rows + np.uint8(1), "abc", ()))


def test_a_picture_of_the_same_size_and_date_is_other_data(tmp_path: Path) -> None:
    path = tmp_path / "x.bmp"
    Image.new("RGB", (4, 4), "red").save(path)
    write_data_record(tmp_path, Origin([path], ["a"], ["x"]))
    before = path.stat()
    Image.new("RGB", (4, 4), "blue").save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` and unpackers do
    with pytest.raises(TrainingError, match="files or labels changed"):
        require_same_data(tmp_path, Origin([path], ["a"], ["x"]))


@pytest.mark.parametrize("key", ["sha256", "stamps", "images", "digest"])
def test_a_record_that_was_changed_is_refused(tmp_path: Path, key: str) -> None:
    write_data_record(tmp_path, Origin(np.zeros((1, 4, 4), np.uint8), ["a"], ["x"]))
    record = json.loads((tmp_path / "data.json").read_text())
    record[key] = "0" * 64 if key != "images" else 9
    (tmp_path / "data.json").write_text(json.dumps(record))
    with pytest.raises(CorruptFileError, match="differs from its own digest"):
        require_same_data(tmp_path, Origin(np.zeros((1, 4, 4), np.uint8), ["a"], ["x"]))


def test_a_record_without_a_digest_is_read_as_it_was_written(tmp_path: Path) -> None:
    origin = Origin(np.zeros((1, 4, 4), np.uint8), ["a"], ["x"])
    write_data_record(tmp_path, origin)
    record = json.loads((tmp_path / "data.json").read_text())
    del record["digest"]
    (tmp_path / "data.json").write_text(json.dumps(record))
    with pytest.raises(CorruptFileError, match="differs from its own digest"):
        require_same_data(tmp_path, origin)
    (tmp_path / "data.json").write_text(json.dumps(record | {"version": 1}))
    require_same_data(tmp_path, origin)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(CorruptFileError, match=r"data\.json is no compat-sdk-run-data"):
        require_same_data(tmp_path, Origin([], [], []))


def test_an_image_with_two_labels_is_not_trained(clothes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(clothes, tmp_path / "data"))
    rows = [f"{file.relative_to(data).as_posix()},{file.parent.name},train" for file in (data / "train").rglob("*.png")]
    twice = rows[0].split(",")[0]
    (data / "m.csv").write_text("\n".join(["path,label,split", *rows, f"{twice},another,train"]))
    with pytest.raises(DataError, match="images of the train split stand more than once, with different labels"):
        load_training_set(Source(data=str(data / "m.csv")), Preprocessing(size=28))
