"""Recipes that are no recipes: one line of what is wrong, and nothing outside of the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_sdk.errors import ConfigError
from compat_train.recipe import read_recipe

HEAD = '[source]\ndata = "sample"\n[gallery]\narch = "resnet18"\n'


def refusal(tmp_path: Path, text: str) -> str:
    (tmp_path / "r.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as refused:
        read_recipe(tmp_path / "r.toml", tmp_path / "out")
    return str(refused.value)


@pytest.mark.parametrize("table", ["model", "query", "side_info", "upgrade"])
@pytest.mark.parametrize("name", ["../../escaped", "/abs", "..", ".", "", "a/b", "a\\\\b", "nul", "end.", "a\\u0000"])
def test_a_run_whose_name_leads_elsewhere_is_refused(tmp_path: Path, table: str, name: str) -> None:
    assert f"a run [{table}.NAME] is named" in refusal(tmp_path, f'{HEAD}[{table}."{name}"]\n')


@pytest.mark.parametrize(
    "text",
    [
        "global = 3",
        "gallery = 1",
        'gallery = "x"\nsource = {data = "sample"}',
        "source = []\ngallery = {}",
        'model = 3\nsource = {data = "sample"}\ngallery = {arch = "resnet18"}',
        'cmp = 3\nsource = {data = "sample"}\ngallery = {arch = "resnet18"}',
        f"{HEAD}[query]\na = 4",
        f"{HEAD}[query.a]\ngallery = [1]",
        f"{HEAD}[upgrade.a]\nold = {{}}\nnew = 2",
        f"{HEAD}[execution]\nseed = 1e400",
        f"{HEAD}[cmp]\nsearch = 3",
        f"{HEAD}x = {'[' * 100_000}",
        f"{HEAD}x = {'[' * 60 + ']' * 60}",
        f"{HEAD}dim = {'9' * 4000}",
        f'{HEAD}dim = "{"9" * 4000}"',
        f"{HEAD}{'k' * 4000} = 1",
        f"{HEAD}classification = 1979-05-27",
        f"{HEAD}optimisation = [1, 2]",
    ],
)
def test_a_recipe_of_wrong_types_is_one_short_line(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path, text)
    assert said.isprintable() and len(said.replace(str(tmp_path), "")) < 300, said
