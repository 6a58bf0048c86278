from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import compat_sdk

HEAVY = ("onnxruntime", "usearch", "torch", "typer", "onnx", "PIL", "numpy")


def loaded_by(statement: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import compat_sdk") == set()


def test_this_check_can_fail() -> None:
    assert "numpy" in loaded_by("import compat_sdk, numpy")


def test_naming_the_embedder_loads_no_engine_and_no_command_line() -> None:
    assert loaded_by("from compat_sdk import Bundle, Embedder, Embeddings, Preprocessing") == {"numpy", "PIL"}


def test_naming_the_gallery_and_the_data_sets_loads_no_engine_either() -> None:
    assert loaded_by("from compat_sdk import Gallery, Hit, open_dataset") <= {"numpy", "PIL"}


def test_the_public_names_are_sorted_exist_and_are_all() -> None:
    names = compat_sdk.__all__
    assert list(names) == sorted(names)
    for name in names:
        assert getattr(compat_sdk, name) is not None
    assert set(names) <= set(dir(compat_sdk))


def test_every_error_that_callers_may_act_on_is_public() -> None:
    from compat_sdk import errors

    family = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert "CompatError" in family
    assert family <= set(compat_sdk.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        compat_sdk.nothing_here  # noqa: B018


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    stated = re.search(r'^version = "(.+)"$', project.read_text("utf-8"), re.MULTILINE)
    assert stated is not None and stated[1] == compat_sdk.__version__
