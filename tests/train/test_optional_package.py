"""A package that is installed and does not load ends in one line, not in a traceback of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compat_sdk.errors import CompatError, MissingExtraError
from compat_train.models.adopted import huggingface_model, open_clip_model
from compat_train.models.optional_package import import_timm

LOADERS = {
    "open_clip": lambda: open_clip_model("RN50"),
    "transformers": lambda: huggingface_model("{}"),
    "timm": import_timm,
}


@pytest.fixture(params=LOADERS)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for loaded in [each for each in sys.modules if each.partition(".")[0] == request.param]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return str(request.param)


@pytest.mark.parametrize("fault", ["RuntimeError('operator torchvision::nms\\ndoes not exist')", "OSError('no .so')",
                                   "ImportError('another version')", "AttributeError('no such name')"])  # fmt: skip
def test_a_package_that_does_not_load_is_told_in_one_line(name: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(f"raise {fault}")
    with pytest.raises(CompatError, match=f"^{name} is installed but does not load") as caught:
        LOADERS[name]()
    assert "\n" not in str(caught.value)


def test_a_package_that_lacks_another_names_it(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("import no_such_package_at_all")
    with pytest.raises(MissingExtraError, match="no_such_package_at_all is not installed"):
        LOADERS[name]()
