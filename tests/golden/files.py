"""The committed files of released versions, as a test uses them: copied, so that nothing writes into the tree."""

from __future__ import annotations

import shutil
from pathlib import Path

HERE = Path(__file__).parent


def copy_of(version: str, to: Path) -> Path:
    """A copy of everything that a release left, without the script that made it."""
    return shutil.copytree(HERE / version, to, ignore=shutil.ignore_patterns("make.py"))
