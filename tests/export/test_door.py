"""What a user of `compat_export` may name."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields

import pytest

import compat_export


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after a statement."""
    heavy = ("torch", "onnx", "coremltools", "litert_torch", "executorch", "numpy", "compat_train")
    code = f"import json, sys\n{statement}\nprint(json.dumps([n for n in {heavy!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy_and_naming_a_function_does() -> None:
    assert loaded_by("import compat_export") == set()
    assert "torch" in loaded_by("from compat_export import export")


def test_the_public_names_are_sorted_exist_and_are_all() -> None:
    names = compat_export.__all__
    constants, classes = [n for n in names if n.isupper()], [n for n in names if n[0].isupper() and not n.isupper()]
    functions = [n for n in names if n.islower()]
    assert names == [*sorted(constants), *sorted(classes), *sorted(functions)]
    for name in names:
        assert getattr(compat_export, name).__class__.__module__ != "types", "a name, and no module"
    assert set(names) <= set(dir(compat_export))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        compat_export.nothing_here  # noqa: B018


def test_the_reader_of_core_ml_packages_has_a_door_of_its_own() -> None:
    pytest.importorskip("coremltools")
    from compat_export.mil import CoreMLTwin, Package

    assert inspect.isclass(CoreMLTwin) and inspect.isclass(Package)


def test_the_keywords_of_an_export_are_the_fields_of_its_request() -> None:
    from compat_export.request import Asked, Request

    wanted = {field.name: field.type for field in fields(Request) if field.name != "out"}
    assert {name: kind.__forward_arg__ for name, kind in Asked.__annotations__.items()} == wanted
