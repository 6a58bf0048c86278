"""The tutorials: notebooks of the examples' own code, whose pages are theirs."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.pipeline.documents import ROOT


@pytest.fixture(scope="module")
def tutorials() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorials", ROOT / "docs" / "site" / "tutorials.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_notebook_is_of_its_example_and_every_page_of_its_notebook(tutorials: ModuleType) -> None:
    assert tutorials.problems() == []


def test_a_notebook_has_all_of_the_examples_code(tutorials: ModuleType) -> None:
    for example in sorted((ROOT / "examples").glob("[0-9]*.py")):
        code = [cell for cell in tutorials.notebook_of(example)["cells"] if cell["cell_type"] == "code"]
        shown = ast.parse("\n".join("".join(cell["source"]) for cell in code[:-1])).body
        wanted = ast.parse(example.read_text("utf-8")).body[1:-1]  # without docstring and the call of main
        assert list(map(ast.dump, shown)) == list(map(ast.dump, wanted))


def test_every_notebook_was_run_and_names_no_machine(tutorials: ModuleType) -> None:
    for path in (ROOT / "docs" / "tutorials").glob("*.ipynb"):
        text = path.read_text("utf-8")
        assert json.loads(text)["cells"][-1]["outputs"], f"{path.name} shows no result"
        assert "/tmp/" not in text and "/home/" not in text


@pytest.mark.slow
def test_the_notebooks_run(tutorials: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("torch")
    for example in sorted((ROOT / "examples").glob("[0-9]*.py")):
        assert tutorials.execute(tutorials.notebook_of(example), tmp_path)["cells"][-1]["outputs"]
