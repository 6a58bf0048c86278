"""A gallery model that was adopted goes wherever one that was trained here goes: each command once, on a tiny file.

`docs/any-gallery-model.md`, whose commands are run as they stand, has `train query`, `evaluate`, `index build`,
`export` of the query model and `search`; here is the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle import Bundle
from compat_sdk.datasets import open_dataset
from tests.pipeline.conftest import Run
from tests.train.folders import write_identities

TINY = ("--batch", 16, "--threads", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adopted")


def answer(result: tuple[int, str, str]) -> Any:
    """What a command with --json printed."""
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def teacher(run: Run, work: Path) -> Path:
    """The adopted model, and beside it the same model with another mean, which is another space."""
    pytest.importorskip("onnxruntime")
    from tests.train.adoption.graphs import network

    for name, mean in (("teacher", "0.5,0.5,0.5"), ("other", "0.25,0.25,0.25")):
        if not (work / name).exists():
            model = network(work / "teacher.onnx")
            scale = ("--mean", mean, "--std", "0.25,0.25,0.25")
            answer(run("adopt", f"onnx:{model}", *scale, "--out", work / name, "--json"))
    return work / "teacher"


def test_it_is_profiled_exported_and_upgraded_from_and_to(run: Run, photos: Path, teacher: Path, work: Path) -> None:
    code, out, err = run("profile", teacher, "--threads", 1)
    assert code == 0 and "teacher" in out, err
    answer(run("export", teacher, "--target", "onnx", "--out", work / "bundle", "--json"))
    space = Bundle.open(work / "bundle").manifest.space
    models = ("--data", photos, "--old", teacher, "--new", work / "other")
    found = answer(run("train", "upgrade", *models, "--hidden", 8, "--epochs", 1, *TINY, "--out", work / "h", "--json"))
    both = ("evaluate", "--data", photos, "--query", work / "other", "--gallery", teacher, "--threads", 1)
    measured = answer(run(*both, "--transform", work / "h", "--json"))
    assert found["space"] != space and 0 <= measured["new_transformed"]["cmc"]["1"] <= 1


@pytest.mark.slow
def test_both_searches_judge_their_networks_by_it(run: Run, teacher: Path, work: Path) -> None:
    data = write_identities(work / "data", open_dataset("sample"))
    common = ("--data", data, "--gallery", teacher, *TINY, "--lr", 0.05)
    answer(run(
        "nas", "cmp", *common, "--mmacs", 0.6, "--space", "shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=16",
        "--supernet-epochs", 1, "--epochs", 1, "--population", 4, "--parents", 2, "--crossovers", 1, "--mutations", 2,
        "--rounds", 1, "--keep", 1, "--no-static", "--out", work / "cmp", "--json",
    ))  # fmt: skip
    answer(run(
        "nas", "global", *common, "--objective", "r3", "--mmacs", 0.5, "--no-micro", "--min-depth", 3, "--max-depth", 4,
        "--min-width", 4, "--max-width", 6, "--macro-epochs", 1, "--final-epochs", 1, "--out", work / "global",
        "--json",
    ))  # fmt: skip
