"""`compat-sdk train` with the options of a new model and of scenarios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_cli.app import app
from compat_cli.commands.train_options import scenario_of
from compat_sdk.errors import ConfigError
from compat_train.runs.checkpoint import Checkpoint

SMALL = ["--arch", "resnet18_gem", "--width", "0.125", "--epochs", "1", "--batch", "16", "--lr", "0.05"]


def train(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(app, ["train", *map(str, arguments), *SMALL, "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_an_old_and_a_new_model_from_the_command_line(clothes: Path, tmp_path: Path) -> None:
    old = train(
        "gallery", "--data", clothes, "--out", tmp_path / "old", "--size", 28, "--dim", 16, "--loss", "arcface",
        "--margin", 0.3, "--scale", 30, "--scenario", "classes=0-2", "--scenario", "fraction=0.75",
    )  # fmt: skip
    assert old["classes"] == 3
    new = train(
        "query", "--data", clothes, "--gallery", tmp_path / "old", "--out", tmp_path / "new", "--method", "dmu",
        "--role", "gallery", "--selection", "least-confidence", "--selection-scale", 30, "--selection-temperature",
        0.5, "--unseen", "prototypes",
    )  # fmt: skip
    assert (new["role"], new["method"], new["classes"]) == ("gallery", "dmu", 4)
    assert new["searches"] == [old["space"]] and new["adaptation"] == str(tmp_path / "new" / "adaptation")
    baseline = train(
        "query", "--data", clothes, "--gallery", tmp_path / "old", "--out", tmp_path / "lce", "--method", "lce",
        "--alignment", 10, "--boundary", 2, "--margin", 0.2,
    )  # fmt: skip
    assert (baseline["role"], baseline["searches"]) == ("query", [old["space"]]) and "adaptation" not in baseline
    loss = Checkpoint.load(tmp_path / "lce").classification
    assert (loss.loss, loss.margin, loss.scale) == ("arcface", 0.2, 30.0), "what is not given is the other run's"


def test_scenario_texts_become_settings() -> None:
    assert scenario_of([]) == {}
    found = scenario_of(["classes=7", "fraction=0.3", "complement=true", "seed=2", "class_order=random"])
    assert found == {
        "source.scenario.classes": "7", "source.scenario.fraction": 0.3, "source.scenario.complement": True,
        "source.scenario.seed": 2, "source.scenario.class_order": "random",
    }  # fmt: skip


@pytest.mark.parametrize("texts", [["fraction"], ["fraction=0.3", "fraction=0.5"]])
def test_scenario_texts_of_another_form_are_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected NAME=VALUE, each name once"):
        scenario_of(texts)
