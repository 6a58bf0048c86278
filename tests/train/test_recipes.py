"""Recipes: the ones in the tree are valid, and a small one runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies.cmp_nas.search import search_config
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Classification, Optimisation
from compat_train.config.scenario import Scenario
from compat_train.nas.global_nas.config import MOBILE, TINY
from compat_train.nas.global_nas.result import GlobalResult
from compat_train.recipe import read_recipe
from compat_train.recipe_run import certify_recipe, run_recipe
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))

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
lr = 0.02
"""

UPGRADE = """
[model.old]
arch = "resnet18"
width = 0.125
dim = 16
[model.old.source.scenario]
classes = "0-1"
[model.old.preprocessing]
size = 28
[model.old.optimisation]
epochs = 1
batch = 16
[side_info.psi]
arch = "resnet18"
width = 0.0625
dim = 8
[side_info.psi.preprocessing]
size = 28
[side_info.psi.optimisation]
epochs = 1
batch = 16
[upgrade.fct]
old = "old"
new = "gallery"
side_info = "psi"
hidden = 16
[upgrade.fct.optimisation]
epochs = 2
batch = 16
"""

GLOBAL = """
[source]
data = "{data}"
[execution]
device = "cpu"
threads = 1
[global]
dim = 8
macro_epochs = 1
micro = false
final_epochs = 1
[global.bounds]
min_depth = 3
max_depth = 3
min_width = 4
max_width = 4
[global.preprocessing]
size = 28
[global.optimisation]
batch = 16
"""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_in_the_tree_is_valid(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path, tmp_path, seed=7, threads=2)
    first = recipe.gallery or recipe.global_search
    assert recipe.description and first is not None and (first.execution.seed, first.execution.threads) == (7, 2)
    trained = recipe.upgrades or recipe.queries or recipe.models
    assert recipe.cmp is not None or trained or recipe.global_search is not None
    if recipe.cmp is not None:
        assert recipe.cmp.gallery == str(tmp_path / "gallery") and recipe.cmp.search.seed == 7
    if recipe.global_search is not None:
        needed = str(tmp_path / "gallery") if recipe.global_search.objective == "r3" else None
        assert recipe.global_search.gallery == needed and (recipe.gallery is None) == (needed is None)
    for upgrade in recipe.upgrades.values():
        assert Path(upgrade.old).parent == Path(upgrade.new).parent == tmp_path and upgrade.execution.seed == 7


def test_a_recipe_that_says_it_was_measured_has_the_settings_of_the_measurement(tmp_path: Path) -> None:
    """Those of the search of benchmarks/studies/cmp_nas; what a run adds of its own is left out."""
    found = read_recipe(FOLDER / "cmp_nas_kanji.toml", tmp_path).cmp
    assert found is not None
    measured = search_config(root="kanji", runs=tmp_path, seed=0)
    for name in ("space", "stem_stride", "reward", "method", "supernet", "search", "validation", "retrain"):
        assert getattr(found, name) == getattr(measured, name), name
    assert sorted(found.mmacs) == sorted(measured.mmacs)


def test_the_papers_hyper_parameters_are_in_the_face_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(FOLDER / "cmp_nas_face.toml", tmp_path)
    gallery, search = recipe.gallery, recipe.cmp
    assert gallery is not None and search is not None
    assert (gallery.arch, gallery.classification.margin, gallery.optimisation.batch) == ("resnet101", 0.4, 320)
    assert (gallery.optimisation.milestones, gallery.optimisation.epochs) == ((8, 12, 14), 16)
    assert (search.retrain.epochs, search.retrain.lr, search.mmacs) == (32, 1.3, (100.0, 230.0, 330.0))
    assert search.training("mobilenet_v1").optimisation.lr == 0.1
    assert search.training("mobilenet_v2").optimisation.lr == 1.3


def test_the_papers_hyper_parameters_are_in_the_recipe_of_fct(tmp_path: Path) -> None:
    recipe = read_recipe(FOLDER / "fct_imagenet.toml", tmp_path)
    assert recipe.gallery is not None
    for model in (recipe.gallery, recipe.models["old"]):
        optimisation = model.optimisation
        assert (model.arch, model.dim, optimisation.batch, optimisation.epochs) == ("resnet50", 128, 1024, 100)
        assert (optimisation.lr, optimisation.momentum, optimisation.weight_decay) == (1.024, 0.875, 2**-15)
    assert recipe.models["old"].source.scenario.classes == "0-499" and recipe.gallery.source.scenario.everything
    assert recipe.sides["simclr"].source.scenario.classes == "0-499"
    upgrade = recipe.upgrades["fct"]
    assert (upgrade.old, upgrade.new) == (str(tmp_path / "old"), str(tmp_path / "gallery"))
    assert (upgrade.side_info, recipe.upgrades["none"].side_info) == (str(tmp_path / "simclr"), None)
    assert (upgrade.schedule.optimiser, upgrade.schedule.lr, upgrade.schedule.batch) == ("adam", 5e-4, 1024)
    assert (upgrade.schedule.epochs, upgrade.schedule.warmup_epochs, upgrade.width) == (80, 5, 2048)


def test_the_papers_hyper_parameters_are_in_the_recipes_of_the_global_search(tmp_path: Path) -> None:
    tiny, mobile = (
        read_recipe(FOLDER / f"{name}.toml", tmp_path) for name in ("global_fashion", "global_fashion_mobile")
    )
    assert tiny.global_search is not None and mobile.global_search is not None
    assert (tiny.global_search.bounds, mobile.global_search.bounds) == (TINY, MOBILE)
    for search in (tiny.global_search, mobile.global_search):
        schedule = search.optimisation
        assert (schedule.batch, schedule.lr, schedule.momentum, schedule.weight_decay) == (64, 0.025, 0.9, 3e-4)
        assert (search.macro_epochs, search.micro_epochs, search.final_epochs) == (10, 2, 600)
        assert (search.gain, search.drop, search.augmentation.cutout, search.ranking) == (0.1, 0.05, 0.5, "dynamic")
    assert tiny.names == ()


def test_a_table_of_a_recipe_with_one_setting_lies_over_its_owners_default(tmp_path: Path) -> None:
    path = tmp_path / "partial.toml"
    path.write_text(
        "[source]\ndata = 'x'\n[source.scenario]\nfraction = 0.5\n[gallery.classification]\nscale = 30.0\n"
        "[model.old.source.scenario]\nclasses = '0-9'\n[query.a.optimisation]\nbatch = 64\n"
        "[query.a.classification]\nmargin = 0.1\n[query.b]\ngallery = 'a'\n[query.b.classification]\nscale = 8.0\n"
        "[cmp]\nmmacs = [100]\n[cmp.supernet.optimisation]\nbatch = 32\n[cmp.classification]\nloss = 'norm-softmax'\n"
    )
    recipe = read_recipe(path, tmp_path)
    assert recipe.models["old"].source.scenario == Scenario(fraction=0.5, classes="0-9")
    first, second = recipe.queries["a"], recipe.queries["b"]
    assert first.optimisation == Optimisation(epochs=32, lr=1.3, batch=64) and second.optimisation.epochs == 32
    assert first.classification == Classification(margin=0.1, scale=30.0)
    assert second.classification == Classification(margin=0.1, scale=8.0)
    assert recipe.cmp is not None and recipe.cmp.supernet.optimisation == Optimisation(epochs=32, lr=1.3, batch=32)
    assert recipe.cmp.classification == Classification(loss="norm-softmax", margin=0.0, scale=30.0)


def test_a_part_of_a_preprocessing_in_a_recipe_lies_over_that_of_the_model_it_is_trained_against(
    tmp_path: Path,
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "[source]\ndata = 'x'\n[gallery.preprocessing]\nsize = 64\nmean = [0.1, 0.2, 0.3]\n"
        "[query.a]\nmethod = 'bct'\n[query.a.preprocessing]\nsize = 32\n"
        "[query.b]\ngallery = 'a'\n[query.b.preprocessing]\nresize = 'box'\n[query.c]\ngallery = 'a'\n"
    )
    queries = read_recipe(path, tmp_path / "out").queries
    assert queries["a"].preprocessing == Preprocessing(size=32, mean=(0.1, 0.2, 0.3))
    assert queries["b"].preprocessing == Preprocessing(size=32, mean=(0.1, 0.2, 0.3), resize="box")
    assert queries["c"].preprocessing is None


def test_a_recipe_of_a_global_search_runs_without_a_gallery_model(clothes: Path, tmp_path: Path) -> None:
    path = tmp_path / "global.toml"
    path.write_text(GLOBAL.format(data=clothes))
    recipe = read_recipe(path, tmp_path / "runs", seed=3)
    result = run_recipe(recipe, tmp_path / "runs")
    assert isinstance(result, GlobalResult) and result.network.run == tmp_path / "runs" / "global" / "network"
    assert Checkpoint.load(result.network.run).config["execution"]["seed"] == 3
    assert not (tmp_path / "runs" / "gallery").exists()


def test_a_recipe_of_an_upgrade_runs_and_names_its_models_by_their_tables(clothes: Path, tmp_path: Path) -> None:
    path = tmp_path / "upgrade.toml"
    path.write_text(SMALL.format(data=clothes) + UPGRADE)
    recipe = read_recipe(path, tmp_path / "runs")
    assert recipe.names == ("gallery", "old", "small", "psi", "fct")
    run_recipe(recipe, tmp_path / "runs")
    transform = TransformRun.load(tmp_path / "runs" / "fct")
    assert (
        Checkpoint.load(tmp_path / "runs" / "old").classes == Checkpoint.load(tmp_path / "runs" / "gallery").classes[:2]
    )
    assert transform.spaces.old_space == Checkpoint.load(tmp_path / "runs" / "old").space
    assert transform.spaces.side_space == Checkpoint.load(tmp_path / "runs" / "psi").space
    assert transform.spaces.space == Checkpoint.load(tmp_path / "runs" / "gallery").space
    path.write_text(path.read_text().replace('new = "gallery"', 'new = "newest"'))
    with pytest.raises(
        ConfigError, match=r"upgrade\.fct\.new is 'newest'; expected a run of this recipe: gallery, old"
    ):
        read_recipe(path, tmp_path / "runs")
    second = '[upgrade.second]\nold = "old"\nnew = "small"\nside_info = "psi"\nthrough = ["fct"]\n'
    path.write_text(SMALL.format(data=clothes) + UPGRADE + second)
    assert read_recipe(path, tmp_path / "runs").upgrades["second"].through == (str(tmp_path / "runs" / "fct"),)
    path.write_text(SMALL.format(data=clothes) + UPGRADE + second.replace('["fct"]', '["old"]'))
    with pytest.raises(ConfigError, match=r"upgrade\.second\.through is \['old'\]; expected a list of transforms"):
        read_recipe(path, tmp_path / "runs")
    path.write_text(SMALL.format(data=clothes) + UPGRADE.replace("psi", "small"))
    with pytest.raises(ConfigError, match="gives the name small to two runs"):
        read_recipe(path, tmp_path / "runs")


def test_a_recipe_runs_and_a_finished_one_is_kept(clothes: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL.format(data=clothes))
    recipe = read_recipe(path, tmp_path / "runs")
    assert run_recipe(recipe, tmp_path / "runs") is None
    query = Checkpoint.load(tmp_path / "runs" / "small")
    assert query.certificates == ()
    assert len(certify_recipe(recipe, tmp_path / "runs")) == 1
    assert [shown.gallery_space for shown in query.certificates] == list(query.searches)
    assert query.searches == (Checkpoint.load(tmp_path / "runs" / "gallery").space,)
    stages: list[str] = []
    run_recipe(recipe, tmp_path / "runs", lambda stage, *_: stages.append(stage))
    assert not stages


def test_runs_share_a_folder_of_decoded_pictures_unless_they_stream_or_name_one(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        "[source]\ndata = 'x'\n[gallery]\n[model.streamed.source]\nstreamed = true\n"
        "[model.elsewhere.source]\npixels = 'kept'\n"
    )
    recipe = read_recipe(path, tmp_path / "out", root="there")
    assert recipe.gallery is not None and recipe.gallery.source.root == "there"
    assert recipe.gallery.source.pixels == str(tmp_path / "out" / "pixels")
    streamed, elsewhere = (recipe.models[name].source for name in ("streamed", "elsewhere"))
    assert (streamed.streamed, streamed.pixels, elsewhere.pixels) == (True, None, "kept")


def test_a_recipe_that_extends_another_lies_over_it_setting_by_setting(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        "description = 'base'\n[source]\ndata = 'x'\n[gallery]\ndim = 32\n[gallery.optimisation]\nepochs = 3\n"
        "[query.a]\nmethod = 'bct'\n"
    )
    (tmp_path / "more.toml").write_text(
        "extends = 'base.toml'\n[gallery.optimisation]\nbatch = 8\n[query.b]\nmethod = 'lce'\n"
    )
    last = tmp_path / "last.toml"
    last.write_text("extends = 'more.toml'\ndescription = 'last'\n[source.scenario]\nfraction = 0.5\n")
    recipe = read_recipe(last, tmp_path)
    assert recipe.description == "last" and recipe.gallery is not None
    schedule = recipe.gallery.optimisation
    assert (recipe.gallery.dim, schedule.epochs, schedule.batch) == (32, 3, 8)
    assert recipe.gallery.source.scenario.fraction == 0.5
    assert {name: query.method for name, query in recipe.queries.items()} == {"a": "bct", "b": "lce"}
    for name, says in (
        ("'last.toml'", "expected recipes that end in one without extends"),
        ("'../base.toml'", "expected the name of a recipe in the same folder"),
        ("'base'", "expected the name of a recipe in the same folder"),
        ("3", "extends is 3; expected the name"),
        ("'none.toml'", "cannot read"),
    ):
        last.write_text(f"extends = {name}\n")
        with pytest.raises(ConfigError, match=says):
            read_recipe(last, tmp_path)


def test_a_new_model_and_an_upgrade_follow_the_transform_beside_an_earlier_new_model(tmp_path: Path) -> None:
    text = (
        "[source]\ndata = 'x'\n[gallery]\n[model.old]\n[query.one]\ngallery = 'old'\nmethod = 'dmu'\n"
        "[query.two]\ngallery = 'one'\nmethod = 'dmu'\nthrough = ['one']\nembedded_by = 'old'\n"
        "[upgrade.psi]\nold = 'old'\nnew = 'two'\nmethod = 'dmu'\nthrough = ['one']\n"
    )
    path = tmp_path / "chain.toml"
    path.write_text(text)
    recipe = read_recipe(path, tmp_path)
    beside = (str(tmp_path / "one" / "adaptation"),)
    assert recipe.queries["two"].through == recipe.upgrades["psi"].through == beside
    assert recipe.queries["two"].embedded_by == str(tmp_path / "old")
    for before, after, says in (
        ("through = ['one']\nembedded_by", "through = ['two']\nembedded_by", "query.two.through is"),
        ("through = ['one']\nembedded_by", "through = ['psi']\nembedded_by", "query.two.through is"),
        ("embedded_by = 'old'", "embedded_by = 'gone'", "query.two.embedded_by is 'gone'"),
    ):
        path.write_text(text.replace(before, after))
        with pytest.raises(ConfigError, match=says):
            read_recipe(path, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "is not a TOML file"),
        ("[source]\ndata='x'\n", r"needs the tables \[source\] and \[gallery\]"),
        ("[source]\ndata='x'\n[gallery]\narch='resnet18'\n[models]\n", "has models"),
        ("[source]\ndata='x'\n[gallery]\n[model]\narch='resnet18'\n", r"expected a table \[model.NAME\]"),
        ("[source]\ndata='x'\n[gallery.execution]\nseed=1\n", "gallery.execution is set, but all runs"),
        ("[source]\ndata='x'\n[gallery.source]\ndata='y'\n", "gallery.source is set, but all runs"),
        ("[source]\ndata='x'\n[gallery]\n[query.q.execution]\nseed=1\n", "query.q.execution is set, but all runs"),
        ("[source]\ndata='x'\n[gallery]\n[upgrade.h]\nold='gallery'\nnew='gallery'\noptimisation=3\n",
         "upgrade.h.optimisation is 3"),
        ("[source]\ndata='x'\n[global]\nobjective='r3'\n", r"needs the tables \[source\] and \[gallery\]"),
        ("[source]\ndata='x'\n[global]\n[query.q]\narch='resnet18'\n", "query.q.gallery is 'gallery'; expected a run"),
        ("[source]\ndata='x'\n[gallery]\n[cmp]\nmmacs=[100]\n[global]\n", r"the searches \[cmp\] and \[global\]"),
        ("[source]\ndata='x'\n[global.source]\ndata='y'\n", "global.source is set, but all runs"),
        ("[source]\ndata='x'\n[gallery]\n[global]\nobjective='r3'\ngallery='big'\n",
         r"global\.gallery is 'big'; expected a run of this recipe: gallery"),
        ("[source]\ndata='x'\n[global.optimisation]\nepochs=3\n", "unknown setting global.optimisation.epochs"),
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
