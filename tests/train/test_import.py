"""The door of the server's package: sorted, whole, and light until it is used."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import compat_train


def loaded_by(statement: str) -> set[str]:
    code = f"import json, sys\n{statement}\nprint(json.dumps([n for n in ('torch', 'numpy') if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_no_torch() -> None:
    assert loaded_by("import compat_train") == set()


def test_configurations_are_written_without_torch() -> None:
    assert "torch" not in loaded_by("from compat_train import GalleryConfig, QueryConfig, UpgradeConfig")


def test_this_check_can_fail() -> None:
    assert "torch" in loaded_by("from compat_train import Checkpoint")


def test_the_public_names_are_sorted_and_exist() -> None:
    names = compat_train.__all__
    assert list(names) == sorted(set(names))
    for name in names:
        assert getattr(compat_train, name) is not None
    assert set(names) <= set(dir(compat_train))


def test_no_public_name_hides_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(compat_train.__path__)}
    assert not modules & set(compat_train.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        compat_train.nothing_here  # noqa: B018
