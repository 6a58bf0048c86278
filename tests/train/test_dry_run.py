"""A recipe in dry run: counts by hand, problems told, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from compat_cli.app import app
from compat_train import dry_run
from compat_train.dry_run import plan_recipe
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.recipe import read_recipe

RECIPE = """
description = "small"
[source]
data = "sample"
[execution]
device = "cpu"
threads = 1
[gallery]
arch = "resnet18"
width = 0.125
dim = 16
preprocessing = {size = 28}
optimisation = {epochs = 3, batch = 100}
[model.old]
arch = "resnet18"
width = 0.125
dim = 16
preprocessing = {size = 28}
optimisation = {epochs = 2, batch = 100}
source = {scenario = {class_fraction = 0.3}}
[query.bct]
arch = "shufflenet_v2"
width = 0.25
optimisation = {epochs = 1, batch = 50}
[upgrade.fct]
old = "old"
new = "gallery"
optimisation = {epochs = 4, batch = 200}
"""
SEARCH = """
[cmp]
mmacs = [0.3]
space = "shuffle,stem=4,channels=8-12-16-24,repeats=1-1-1-1,last=16"
keep = 2
static = []
supernet = {optimisation = {epochs = 2, batch = 100}}
retrain = {epochs = 1, batch = 100}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of one image takes an hour, so that hours are counted and not timed."""
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: 3600.0)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_every_run_has_its_images_steps_cost_and_hours(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, RECIPE + SEARCH), tmp_path / "out")
    plan = plan_recipe(recipe, tmp_path / "out")
    runs = {run.name: run for run in plan.runs}
    assert list(runs) == ["gallery", "old", "bct", "fct", "cmp/supernet", "cmp/tiers/0.3/1"]
    images = runs["gallery"].images
    assert images is not None and runs["gallery"].classes == 10 and runs["old"].classes == 3
    assert runs["gallery"].steps == 3 * (images // 100)
    assert runs["bct"].steps == images // 50 and runs["fct"].steps == 4 * (images // 200)
    assert runs["gallery"].hours == runs["gallery"].steps * 100
    assert runs["gallery"].gib == pytest.approx(images * 3 * 28**2 / 2**30)
    assert runs["gallery"].mmacs == count_cost(build_model("resnet18", dim=16, width=0.125), 28).mmacs
    assert runs["cmp/tiers/0.3/1"].mmacs == pytest.approx(0.3, rel=0.21)
    assert runs["fct"].mmacs is None and runs["fct"].hours is None and plan.hours is None
    assert not plan.problems and "retrains 2 networks" in plan.notes[0]
    assert not (tmp_path / "out").exists()
    table = plan.table()
    assert all(name[:17] in table for name in runs) and "MMACs" in table and "?" in table


def test_data_that_are_not_there_are_told_once_and_the_rest_is_planned(tmp_path: Path) -> None:
    text = RECIPE.replace('"sample"', f'"{tmp_path}/absent"')
    found = CliRunner().invoke(
        app, ["run", str(write(tmp_path, text)), "--out", str(tmp_path / "out"), "--dry-run", "--json"]
    )
    assert found.exit_code == 1 and isinstance(found.exception, Exception)
    plan = json.loads(found.stdout)
    assert len(plan["problems"]) == 1 and "absent" in plan["problems"][0]
    assert {run["name"]: run["steps"] for run in plan["runs"]}["gallery"] is None
    assert "cannot run as it is" in str(found.exception)


def test_more_pixels_than_there_is_room_for_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1000})())
    plan = plan_recipe(read_recipe(write(tmp_path, RECIPE), tmp_path), tmp_path)
    assert len(plan.problems) == 1 and "are free at" in plan.problems[0]


def test_a_tier_that_no_network_is_as_cheap_as_is_a_problem(tmp_path: Path) -> None:
    plan = plan_recipe(read_recipe(write(tmp_path, RECIPE + SEARCH.replace("0.3", "0.0001")), tmp_path), tmp_path)
    assert any("no member" in problem for problem in plan.problems)


def test_a_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    before = [weight.clone() for weight in network.parameters()]
    assert 0 < dry_run._seconds(network, 16, 2, torch.device("cpu")) < 60
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_dry_run_certifies_nothing(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["run", str(write(tmp_path, RECIPE)), "--dry-run", "--certify"])
    assert "leave one out" in str(found.exception)
