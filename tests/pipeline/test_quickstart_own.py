"""The quickstart on one's own pictures, from the folder to the report: stopped, resumed from elsewhere, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

from compat_cli.pages import plan, story
from compat_sdk.datasets import open_dataset
from compat_sdk.errors import CompatError
from tests.pipeline.conftest import Run

TINY = {"arch": "global:plain:16:s3c3s3", "width": 1.0, "batch": 16, "lr": 0.1}
IDENTITIES, PICTURES = 6, 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six identities of six real pictures each, in folders."""
    root, split = tmp_path_factory.mktemp("own") / "pictures", open_dataset("sample").split("train")
    for label in split.classes[:IDENTITIES]:
        for row in [row for row, found in enumerate(split.labels) if found == label][:PICTURES]:
            path = root / label.replace("/", "-") / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[row]).save(path)  # type: ignore[arg-type]
    return root


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and schedules of a second."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(plan, "_GALLERY", TINY)
    monkeypatch.setattr(plan, "_QUERY", {**TINY, "lr": 0.05})
    monkeypatch.setattr(plan, "_SIDES", (32,))
    monkeypatch.setattr(plan, "_EPOCHS", 1)


def stop(*_: object) -> NoReturn:
    raise CompatError("stopped here")


@pytest.mark.usefixtures("tiny")
def test_a_story_of_ones_own_pictures_goes_on_from_any_folder_and_repeats_nothing(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    with monkeypatch.context() as stopped:
        stopped.setattr(story.Story, "_evaluate", stop)
        code, _, err = run("quickstart", "--data", "pictures", "--out", "story", "--threads", 1, "--minutes", 2)
    out = pictures.parent / "story"
    assert code == 1 and "stopped here" in err and "training pictures, 100 % of them used" in err
    assert len(list((out / "steps").iterdir())) == 3 and not (out / "report.html").exists()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "measured", stop)
    monkeypatch.setattr(story.Story, "_train_gallery", stop)
    monkeypatch.setattr(story.Story, "_train_query", stop)
    words = ("quickstart", "--data", pictures, "--out", out, "--threads", 1, "--json")
    code, printed, err = run(*words, "--minutes", 2)
    assert code == 0, err
    results = json.loads(printed)
    first, second = results["commands"].splitlines()[:2]
    assert first == "compat-sdk data split pictures --seed 0 --out data" and "--data data --size 32" in second
    divided = open_dataset(out / "data")
    assert {results["data"][name] for name in ("train", "query", "gallery")} == {12, 4, 8}
    assert not set(divided.split("train").classes) & set(divided.split("query").classes)
    assert results["evaluation"]["query"]["declared"] and results["refused"].startswith("IncompatibleSpaceError")
    assert not results["data"]["easy"] and "The classes are easy" not in (out / "report.html").read_text("utf-8")

    monkeypatch.setattr(story.Story, "_export", stop)
    code, printed, _ = run(*words, "--minutes", 2)
    assert code == 0 and json.loads(printed)["seconds"] == results["seconds"]
    other = shutil.copytree(pictures, tmp_path / "other")
    for changed in ((*words, "--minutes", 3), (*words, "--minutes", 2, "--seed", 1), ("quickstart", "--out", out),
                    ("quickstart", "--data", other, "--minutes", 2, "--out", out)):  # fmt: skip
        code, _, err = run(*changed)
        assert code == 1 and "holds a quickstart with other settings" in err
    kept = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps({**kept, "plan": {**kept["plan"], "size": 48}}))
    code, _, err = run(*words, "--minutes", 2)
    assert code == 1 and "plan.json" in err and "digest" in err


@pytest.mark.usefixtures("tiny")
def test_what_no_story_can_be_made_of_is_refused_before_anything_is_measured_or_written(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measured", stop)
    flat, single, bare, foreign = (tmp_path / name for name in ("flat", "single", "bare", "foreign"))
    flat.mkdir()
    for number, path in enumerate(sorted(pictures.glob("*/*.png"))):
        shutil.copy(path, flat / f"{number}.png")
        for place in (single / path.parent.name, bare / "train", bare / "query", bare / "gallery"):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / "one.png")
    (tmp_path / "list.csv").write_text("path\n")
    foreign.mkdir()
    (foreign / "letter.txt").write_text("mine")
    refused: list[tuple[tuple[object, ...], int, str]] = [
        (("--minutes", 3), 2, "--minutes and --root go with --data"),
        (("--root", flat), 2, "--minutes and --root go with --data"),
        (("--data", pictures, "--minutes", 0.5), 2, "--minutes"),
        (("--data", pictures, "--root", flat), 1, "is a folder; leave it out"),
        (("--data", flat), 1, "expected one folder of pictures per identity"),
        (("--data", single), 1, "different pictures or more; a division by picture needs 2"),
        (("--data", bare), 1, "outside"),
        (("--data", tmp_path / "list.csv"), 1, "list.csv"),
        (("--data", tmp_path / "nowhere"), 1, "found no dataset"),
        (("--data", "cifar-10"), 1, "--root"),
    ]
    for words, expected, said in refused:
        code, printed, err = run("quickstart", *words, "--out", tmp_path / "story")
        assert (code, printed) == (expected, "") and said in err and "Traceback" not in err, err
        assert not (tmp_path / "story").exists()
    code, _, err = run("quickstart", "--data", pictures, "--out", foreign)
    assert code == 2 and [path.name for path in foreign.iterdir()] == ["letter.txt"], err
