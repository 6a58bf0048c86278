"""The direction rules hold, and the check that says so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"compat_sdk": "sdk", "compat_train": "server_training", "compat_export": "export", "compat_cli": "cli"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for package, top in FOLDERS.items():
        shutil.copytree(ROOT / top / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken_contracts(folder: Path) -> str:
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from importlinter.cli import lint_imports_command as c; c()"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, "--no-cache", "--config", str(folder / "pyproject.toml")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return run.stdout if run.returncode else ""


def test_the_direction_rules_hold(copy: Path) -> None:
    assert broken_contracts(copy) == ""


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("compat_sdk/metrics/scores.py", "import torch"),
        ("compat_sdk/space.py", "import compat_train.config.query"),
        ("compat_train/config/query.py", "import compat_export"),
        ("compat_train/losses/margin.py", "import compat_train.config.query"),
        ("compat_sdk/bundle/bundle.py", "import compat_sdk.embedder"),
        ("compat_sdk/gallery/files.py", "import compat_sdk.gallery.store"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(module: str, line: str, copy: Path) -> None:
    path = copy / module
    before = path.read_text()
    path.write_text(before + f"\n{line}\n")
    try:
        assert "BROKEN" in broken_contracts(copy)
    finally:
        path.write_text(before)
