"""What holds before any test: how many threads compute, what is loaded, and which tests come first and together."""

import atexit
import functools
import gc
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.exports_once import answer_once

# Read once by torch and by numpy's BLAS, as they load, and by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Notes of which index files were built here go to a folder of this run's own, and no trust file of the user's counts.
os.environ["COMPAT_SDK_STATE"] = tempfile.mkdtemp(prefix="compat-sdk-state-")
atexit.register(shutil.rmtree, os.environ["COMPAT_SDK_STATE"], ignore_errors=True)
os.environ.pop("COMPAT_SDK_TRUST", None)

with suppress(ImportError):
    # A test may load usearch by itself: `compat_sdk.index.approximate` says why this one goes first.
    import onnxruntime  # noqa: F401

TESTS = Path(__file__).parent
LONGEST = ("export", "pipeline", "train")
WITH_CONVERTERS = (
    "tests/export/",
    "tests/pipeline/test_plain_engines.py",
    "tests/cli/test_cli.py",
    "tests/train/adoption/test_pretrained.py",
)
"""These go to one process: to load the converters, as `compat-sdk doctor` does too, takes half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders of long files come first: of two processes none ends with one while the other has nothing left."""
    places = {TESTS / folder: place for place, folder in enumerate(LONGEST)}
    items.sort(key=lambda item: min((places[folder] for folder in item.path.parents if folder in places), default=9))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: no search for garbage looks at it again. Some converters start one at each call."""
    answer_once()
    _build_commands_once()
    gc.freeze()


def _build_commands_once() -> None:
    """The commands and options are made of functions once, and not for every command line that a test gives.

    That takes an eighth of a second, and a command that refuses its words a hundredth.
    """
    if "typer" in sys.modules:
        import typer.main

        typer.main.get_command = functools.cache(typer.main.get_command)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests go to one process, as ``--dist loadfile`` says, and so do all files that load converters."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ConvertersTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope: str = super()._split_scope(nodeid)
            return "converters" if scope.startswith(WITH_CONVERTERS) else scope

    return ConvertersTogether(config, log)
