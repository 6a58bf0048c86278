"""The recipes of the papers' tables: each says what to expect and how, and passes a dry run on tiny real layouts."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from compat_sdk.datasets import open_dataset
from compat_train import dry_run
from compat_train.dry_run import plan_recipe
from compat_train.models.build import require_architecture
from compat_train.recipe import read_recipe
from compat_train.recipe_file import read_tables
from tests.sdk.published.layouts import LAYOUTS, mnist, records
from tests.train.folders import write_identities

ROOT = Path(__file__).parents[2]
OURS = ("_kanji", "_laptop")
"""Endings of recipes at laptop scale, which are no paper's."""
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.toml") if not path.stem.endswith(OURS))
TINY = r"a step takes [0-9,]+ images, and there are|^scenario\.classes is .* but the training split has"
"""What is wrong on tiny layouts alone: they have fewer images than a batch, and fewer classes than a range."""

once = functools.cache(require_architecture)


def place_of(data: str) -> tuple[Path, Callable[[Path], object]]:
    """Where a recipe's commands look for a set, and what writes a tiny one of its layout there."""
    if data in ("data/imdb-face", "data/casia"):
        return Path(data), lambda folder: write_identities(folder, open_dataset("sample"))
    if data.endswith(".rec"):
        return Path(data), records
    return Path("data") / data, mnist if data == "fashion-mnist" else LAYOUTS[data]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_a_paper_says_the_papers_figure_the_hours_and_the_command(path: Path) -> None:
    said = " ".join(line.removeprefix("#").strip() for line in path.read_text("utf-8").splitlines() if line[:1] == "#")
    assert "Expected (paper" in said and re.search(r"\b(table|tables|Fig\.|section) ?\d", said)
    assert re.search(r"\b[\d.]+ (hours|days)\b|tells no hours|GPU days", said)
    assert f"compat-sdk run recipes/{path.name} " in said and f"--out runs/{path.stem}" in said
    data = read_tables(path)["source"]["data"]
    if not data.startswith("data/"):
        assert f"--root {place_of(data)[0]}" in said


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_dry_run_finds_nothing_wrong_with_a_recipe_of_a_paper(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: 1e-6)
    networks: set[tuple[str, int]] = set()

    def counted(arch: str, dim: int, width: float, stem_stride: int, size: int) -> tuple[()]:
        networks.add((arch, stem_stride))
        return ()

    monkeypatch.setattr(dry_run, "_layers", counted)
    tables = read_tables(path)
    data = tables["source"]["data"]
    wanted = [data, *(side["source"]["data"] for side in tables.get("side_info", {}).values()
                      if "data" in side.get("source", {}))]  # fmt: skip
    for each in wanted:
        place, write = place_of(each)
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place)
    root = None if data.startswith("data/") else str(place_of(data)[0])
    recipe = read_recipe(path, tmp_path / "runs", root=root, threads=1)
    plan = plan_recipe(recipe, tmp_path / "runs", device="cpu", machine="v100:8")
    assert [problem for problem in plan.problems if not re.search(TINY, problem)] == []
    planned = {run.name for run in plan.runs}
    assert set(recipe.names) <= planned and len(plan.notes) == (recipe.cmp is not None) + (
        recipe.global_search is not None
    )
    for arch, stem_stride in networks:
        once(arch, stem_stride=stem_stride)


def test_the_page_of_recipes_has_each_of_them_and_no_other() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    assert set(re.findall(r"`([a-z0-9_]+)`", page)) & {path.stem for path in RECIPES} == {path.stem for path in RECIPES}
    known = {path.stem for path in (ROOT / "recipes").glob("*.toml")}
    told = re.findall(r"^\|[^|]*\| `([a-z0-9_]+)`", page, re.MULTILINE)
    assert told and set(told) <= known
