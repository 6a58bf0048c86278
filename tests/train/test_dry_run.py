"""A recipe in dry run: counts by hand, problems told, nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from compat_cli.app import app
from compat_sdk.errors import ConfigError
from compat_train import dry_run
from compat_train.dry_run import plan_recipe
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost, per_layer
from compat_train.models.transform import ForwardAdaptation, ForwardTransform, transform_cost
from compat_train.projection import Machine
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
    assert runs["fct"].mmacs == transform_cost(ForwardTransform(16, None, 16, 2048)).mmacs
    assert runs["fct"].hours == runs["fct"].steps * 200 and runs["fct"].gib is None
    assert plan.hours == pytest.approx(sum(run.hours or 0 for run in plan.runs)) and plan.projected_hours is None
    assert not plan.problems and "retrains 2 networks" in plan.notes[0]
    assert not (tmp_path / "out").exists()
    table = plan.table()
    assert all(name[:17] in table for name in runs) and "MMACs" in table and "?" in table
    assert "together about" in table


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
    assert 0 < dry_run._seconds(lambda: network, [(3, 16, 16)], 2, torch.device("cpu")) < 60
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_batch_of_more_images_than_there_are_is_a_problem_of_each_run(tmp_path: Path) -> None:
    text = RECIPE.replace("batch = 50", "batch = 50000").replace("batch = 200", "batch = 60000")
    plan = plan_recipe(read_recipe(write(tmp_path, text), tmp_path), tmp_path)
    images = {run.name: run.images for run in plan.runs}
    assert [problem.split(":")[0] for problem in plan.problems] == ["bct", "fct"]
    assert plan.problems[0].endswith(f"50,000 images, and there are {images['bct']:,} to train on; set a batch of "
                                     f"{images['bct']:,} or less")  # fmt: skip
    alone = '[source]\ndata = "sample"\n[global]\n[global.optimisation]\nbatch = 70000\n'
    plan = plan_recipe(read_recipe(write(tmp_path, alone), tmp_path), tmp_path)
    assert plan.problems[0].startswith("global: a step takes 70,000 images")


def test_pixels_are_those_of_the_canvas_that_crops_are_taken_from(tmp_path: Path) -> None:
    crops = "optimisation = {epochs = 1, batch = 50}\naugmentation = {random_crop = 0.5, canvas = 40}"
    text = RECIPE.replace("optimisation = {epochs = 1, batch = 50}", crops)
    runs = {run.name: run for run in plan_recipe(read_recipe(write(tmp_path, text), tmp_path), tmp_path).runs}
    assert runs["bct"].images and runs["bct"].gib == pytest.approx(runs["bct"].images * 3 * 40**2 / 2**30)


def test_pixels_that_runs_share_take_their_room_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe(write(tmp_path, RECIPE), tmp_path)
    each = {run.name: run.gib or 0.0 for run in plan_recipe(recipe, tmp_path).runs}
    assert each["gallery"] == each["bct"] > each["old"] > 0  # those of old are fewer, and decoded beside the others
    for room, problems in ((each["gallery"] + each["old"], 0), (each["gallery"], 1)):
        free = SimpleNamespace(free=int(room * 2**30) + 1)
        monkeypatch.setattr("compat_train.dry_run.shutil.disk_usage", lambda _, free=free: free)
        assert len(plan_recipe(recipe, tmp_path).problems) == problems


def test_hours_on_a_named_machine_are_arithmetic_and_traffic_by_its_peaks(tmp_path: Path) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(256, 5)
    )
    # 8 x 8 pixels: 4 x 64 outputs of 27 products each, and 5 of 256; a step is three times a forward pass.
    products, touched = 256 * 27 + 5 * 256, 2 * 256 + 4 * 256 + 2 * 5
    half = 3 * (2 * products / 125e12 + 2 * touched / 900e9)
    single = 3 * (2 * products / 15.7e12 + 4 * touched / 900e9)
    layers = per_layer(network, 8)
    assert Machine.named("v100").seconds(layers, half=True) == pytest.approx(half)
    assert Machine.named("v100:8").seconds(layers, half=False) == pytest.approx(single / 8)
    for wrong in ("v101", "v100:0", "v100:9999", "V100", "8xv100", ""):
        with pytest.raises(ConfigError, match="there is no machine"):
            Machine.named(wrong)
    recipe = read_recipe(write(tmp_path, RECIPE), tmp_path)
    plan = plan_recipe(recipe, tmp_path, machine="v100:2")
    runs = {run.name: run for run in plan.runs}
    bct = build_model("shufflenet_v2", dim=16, width=0.25)
    per_image = Machine.named("v100").seconds(per_layer(bct, 28), half=True) / 2
    assert runs["bct"].projected_hours == pytest.approx((runs["bct"].steps or 0) * 50 * per_image / 3600)
    assert plan.projected_hours == pytest.approx(sum(run.projected_hours or 0 for run in plan.runs))
    assert "v100:2" in plan.table().splitlines()[0] and "hours on v100:2 by its peaks" in plan.table()
    found = CliRunner().invoke(app, ["run", str(write(tmp_path, RECIPE)), "--beside", "v100"])
    assert "add --dry-run" in str(found.exception)


def test_a_transform_after_others_takes_what_they_leave(tmp_path: Path) -> None:
    second = """
[model.wide]
arch = "resnet18"
width = 0.125
dim = 24
[query.dmu]
gallery = "old"
role = "gallery"
arch = "resnet18"
method = "dmu"
[upgrade.next]
old = "old"
new = "wide"
through = ["dmu"]
method = "dmu"
hidden = 8
[upgrade.last]
old = "old"
new = "gallery"
through = ["dmu", "next"]
method = "dmu"
hidden = 8
"""
    runs = {
        run.name: run for run in plan_recipe(read_recipe(write(tmp_path, RECIPE + second), tmp_path), tmp_path).runs
    }
    assert runs["next"].mmacs == transform_cost(ForwardAdaptation(16, 24, 8)).mmacs
    assert runs["last"].mmacs == transform_cost(ForwardAdaptation(24, 16, 8)).mmacs


def test_a_dry_run_certifies_nothing(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["run", str(write(tmp_path, RECIPE)), "--dry-run", "--certify"])
    assert "leave one out" in str(found.exception)
