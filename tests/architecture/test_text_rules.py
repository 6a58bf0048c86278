"""Rules on the text of the tree that no linter states."""

from __future__ import annotations

import re
from pathlib import Path

import compat_sdk

ROOT = Path(__file__).parents[2]
SOURCES = [path for top in ("sdk", "server_training", "export", "cli") for path in (ROOT / top).rglob("*.py")]


def test_no_module_has_a_name_without_a_meaning() -> None:
    assert not [path for path in SOURCES if re.fullmatch(r"(utils?|helpers?|common|misc|base_.*)\.py", path.name)]


def test_the_version_is_the_changelogs_newest() -> None:
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None and newest[1] == compat_sdk.__version__


def test_every_public_name_of_the_runtime_can_be_imported() -> None:
    assert list(compat_sdk.__all__) == sorted(compat_sdk.__all__)
    for name in compat_sdk.__all__:
        assert getattr(compat_sdk, name) is not None
