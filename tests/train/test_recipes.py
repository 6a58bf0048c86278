"""Recipes: the ones in the tree are valid, and a small one runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_sdk.errors import ConfigError
from compat_train.checkpoint import Checkpoint
from compat_train.recipe import read_recipe, run_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))

SMALL = """
[source]
data = "{data}"
[execution]
device = "cpu"
threads = 1
[gallery]
arch = "resnet18"
width = 0.125
dim = 16
[gallery.preprocessing]
size = 28
[gallery.optimisation]
epochs = 1
batch = 16
[query.small]
arch = "shufflenet_v2"
width = 0.25
[query.small.optimisation]
epochs = 1
batch = 16
lr = 0.1
"""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_in_the_tree_is_valid(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path, tmp_path, seed=7, threads=2)
    assert recipe.description and recipe.gallery.execution.seed == 7 and recipe.gallery.execution.threads == 2
    assert recipe.cmp is not None
    assert recipe.cmp.gallery == str(tmp_path / "gallery") and recipe.cmp.search.seed == 7


def test_the_papers_hyper_parameters_are_in_the_face_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES[0].with_name("cmp_nas_face.toml"), tmp_path)
    gallery, search = recipe.gallery, recipe.cmp
    assert search is not None
    assert (gallery.arch, gallery.classification.margin, gallery.optimisation.batch) == ("resnet101", 0.4, 320)
    assert (gallery.optimisation.milestones, gallery.optimisation.epochs) == ((8, 12, 14), 16)
    assert (search.retrain.epochs, search.retrain.lr, search.mmacs) == (32, 1.3, (100.0, 230.0, 330.0))
    assert search.training("mobilenet_v1").optimisation.lr == 0.1
    assert search.training("mobilenet_v2").optimisation.lr == 1.3


def test_a_recipe_runs_and_a_finished_one_is_kept(clothes: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL.format(data=clothes))
    recipe = read_recipe(path, tmp_path / "runs")
    assert run_recipe(recipe, tmp_path / "runs") is None
    query = Checkpoint.load(tmp_path / "runs" / "small")
    assert query.searches == (Checkpoint.load(tmp_path / "runs" / "gallery").space,)
    stages: list[str] = []
    run_recipe(recipe, tmp_path / "runs", lambda stage, *_: stages.append(stage))
    assert not stages


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "is not a TOML file"),
        ("[source]\ndata='x'\n", r"needs the tables \[source\] and \[gallery\]"),
        ("[source]\ndata='x'\n[gallery]\narch='resnet18'\n[model]\n", "has model"),
        ("[source]\ndata='x'\n[gallery]\narchitecture='resnet18'\n", "unknown setting gallery.architecture"),
        ("[source]\ndata='x'\n[gallery]\n[cmp]\nmmacs=[100]\nstatic=['mobilenet_v2']\n[cmp.static_lr]\nresnet18=0.1\n",
         "static_lr names resnet18"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_run_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_recipe(path, tmp_path)
