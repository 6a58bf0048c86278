"""Side-information and an upgrade from the command line: trained, evaluated, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import Run

TINY = ("--epochs", 1, "--batch", 16, "--threads", 1, "--device", "cpu")
SMALL = ("--arch", "resnet18", "--width", 0.0625, "--size", 28)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upgrade")


def answer(result: tuple[int, str, str]) -> Any:
    """What a command with --json printed: JSON and nothing else."""
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_1_models_and_side_information_are_trained(run: Run, photos: Path, work: Path) -> None:
    for name, seed in (("old", 0), ("new", 1)):
        answer(run("train", "gallery", "--data", photos, *SMALL, "--dim", 16, *TINY, "--seed", seed,
                   "--out", work / name, "--json"))  # fmt: skip
    for method in ("simclr", "autoencoder", "alternate", "mixup"):
        found = answer(run("train", "side-info", "--data", photos, "--method", method, *SMALL, "--dim", 8, *TINY,
                           "--out", work / method, "--json"))  # fmt: skip
        assert (found["role"], found["method"], found["dim"]) == ("side-info", method, 8)
    code, _, err = run("train", "side-info", "--data", photos, "--method", "none", "--out", work / "none")
    assert code == 2 and "leave --side-info out" in err and not (work / "none").exists()


def test_2_a_transform_is_trained_and_evaluated(run: Run, photos: Path, work: Path) -> None:
    models = ("--data", photos, "--old", work / "old", "--new", work / "new")
    side = ("--side-info", work / "simclr")
    found = answer(run("train", "upgrade", *models, *side, "--hidden", 16, *TINY, "--out", work / "h", "--json"))
    assert (found["role"], found["method"], found["side_dim"], found["dim"]) == ("transform", "fct", 8, 16)
    dmu = answer(run("train", "upgrade", *models, "--method", "dmu", "--hidden", 16, "--loss", "arcface",
                     *TINY, "--out", work / "psi", "--json"))  # fmt: skip
    assert dmu["side_space"] is None and dmu["space"] == found["space"]
    both = ("evaluate", "--data", photos, "--query", work / "new", "--gallery", work / "old", "--threads", 1)
    measured = answer(run(*both, "--transform", work / "h", *side, "--json"))
    assert measured["transforms"] == ["h"] and measured["queries"] == 9
    for pair in ("old_old", "new_old", "new_transformed", "transformed_transformed", "new_new"):
        assert 0 <= measured[pair]["cmc"]["1"] <= 1
    assert measured["cka"].keys() == {"old_new", "transformed_new", "side_old"}
    code, out, _ = run(*both, "--transform", work / "psi")
    assert code == 0 and "M(new,h)" in out


def test_3_what_does_not_go_together_is_refused(run: Run, photos: Path, work: Path) -> None:
    both = ("evaluate", "--data", photos, "--query", work / "new", "--gallery", work / "old", "--threads", 1)
    for words, expected, says in (
        (("--side-info", work / "simclr"), 2, "--side-info needs --transform"),
        (("--transform", work / "h"), 2, "0 sources"),
        (("--transform", work / "h", "--side-info", work / "mixup"), 1, "takes side-information in space"),
        (("--transform", work / "old"), 1, "is a gallery model"),
    ):
        code, _, err = run(*both, *words)
        assert code == expected and says in err
    code, _, err = run("evaluate", "--data", photos, "--query", work / "old", "--gallery", work / "new",
                       "--transform", work / "psi", "--require-compatible", "--threads", 1)  # fmt: skip
    assert code == 1 and "the last transform gives space" in err
    code, _, err = run("evaluate", "--data", photos, "--query", work / "new", "--gallery", work / "new",
                       "--transform", work / "psi", "--threads", 1)  # fmt: skip
    assert code == 1 and "takes embeddings in space" in err
