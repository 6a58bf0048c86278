"""`compat-sdk nas global` and what it finds, exported and evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_sdk.bundle import Bundle
from compat_sdk.datasets import open_dataset
from tests.pipeline.conftest import Run
from tests.train.folders import write_identities

COMMON = ("--batch", 16, "--lr", 0.1, "--threads", 1, "--device", "cpu")
SEARCH = (
    "--min-depth", 3, "--max-depth", 4, "--min-width", 4, "--max-width", 6, "--macro-epochs", 1, "--final-epochs", 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("global")


def test_a_search_by_accuracy_prints_what_it_found_and_continues(run: Run, photos: Path, work: Path) -> None:
    command = (
        "nas", "global", "--data", photos, *SEARCH, *COMMON, "--size", 28, "--dim", 8, "--random", 1, "--flip",
        "--cutout", 0.25, "--scale", 20, "--micro-epochs", 1, "--out", work / "found",
    )  # fmt: skip
    code, out, err = run(*command)
    assert code == 0, err
    assert "relative improvement over random members" in out and "operations" in out and "random 1" in out
    code, out, err = run(*command, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert "train" not in err, "everything was trained before"
    assert found["network"]["run"] == str(work / "found" / "network") and found["evaluated"] >= 3
    settings = json.loads((work / "found" / "results.json").read_text())["settings"]
    assert settings["augmentation"]["cutout"] == 0.25 and settings["augmentation"]["flip"]
    assert settings["classification"] == {"loss": "norm-softmax", "margin": 0.0, "scale": 20.0}


def test_a_search_by_r3_ends_in_a_query_model_that_is_exported(run: Run, work: Path) -> None:
    data = write_identities(work / "data", open_dataset("sample"))
    code, _, err = run(
        "train", "gallery", "--data", data, "--arch", "resnet18", "--width", 0.125, "--size", 32, "--dim", 16,
        "--epochs", 1, *COMMON, "--out", work / "g",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = run(
        "nas", "global", "--data", data, "--gallery", work / "g", "--objective", "r3", "--mmacs", 0.5, "--no-micro",
        "--scale", 30, *SEARCH, *COMMON, "--out", work / "r3", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert found["network"]["mmacs"] <= 0.5 and found["micro_evaluated"] == 0
    code, _, err = run("export", work / "r3" / "network", "--target", "onnx", "--out", work / "bundle")
    assert code == 0, err
    manifest = Bundle.open(work / "bundle").manifest
    assert manifest.arch == found["network"]["arch"] and manifest.mmacs == pytest.approx(found["network"]["mmacs"])
    assert manifest.searches
    code, out, err = run("evaluate", "--data", data, "--query", work / "bundle", "--gallery", work / "g", "--json")
    assert code == 0, err
    measured, reported = json.loads(out), found["network"]["evaluation"]
    assert measured["queries"] == reported["queries"] and measured["gallery_size"] == reported["gallery_size"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (("--preset", "large"), "--preset is 'large'; expected one of tiny, mobile, face-small, face-medium"),
        (("--no-micro", "--micro-epochs", 2), "--no-micro: micro is false, which leaves nothing for micro_epochs"),
        (("--loss", "norm-softmax", "--margin", 0.2), "the loss norm-softmax has none"),
        (("--margin", 0.2), "--margin is 0.2, but the loss norm-softmax has none"),
        (("--gradient-norm", -1), "--gradient-norm is -1.0"),
        (("--objective", "r3"), "measured against a gallery model"),
        (("--mmacs", 0.001), "0.001 MMACs is out of reach"),
        (("--max-depth", 2), "--max-depth is 2"),
        (("--kind", "dense"), "--kind is 'dense'; expected one of plain, residual"),
    ],
)
def test_what_cannot_work_is_refused(run: Run, photos: Path, work: Path, extra: tuple[object, ...], says: str) -> None:
    code, out, err = run("nas", "global", "--data", photos, *SEARCH, *COMMON, *extra, "--out", work / "refused")
    assert code == 2 and not out and says in err and not (work / "refused" / "candidates.jsonl").exists()


def test_the_preset_mobile_is_wider(run: Run, photos: Path, work: Path) -> None:
    small = ("--min-depth", 3, "--max-depth", 3, "--min-width", 128, "--width-step", 128, "--no-micro")
    epochs = ("--macro-epochs", 1, "--final-epochs", 1)
    command = ("nas", "global", "--data", photos, *small, *epochs, *COMMON, "--size", 28, "--dim", 8)
    code, out, err = run(*command, "--preset", "mobile", "--out", work / "mobile", "--json")
    assert code == 0, err
    assert json.loads(out)["W"] == 128
    code, _, err = run(*command, "--out", work / "tiny")
    assert code == 2 and "bounds.max_width is 64" in err
