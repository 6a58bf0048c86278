"""The numbered examples, each run as a reader would, in their order."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

FEW_LAYERS = "global:plain:16:s3c3s3"
EXAMPLES = Path(__file__).parents[2] / "examples"
ARGUMENTS = {
    "01_search_a_gallery.py": (),
    "02_train_a_compatible_query_model.py": ("--epochs", "1", "--width", "0.125", "--threads", "1"),
    "03_export.py": (),
    "04_index_and_search_your_photos.py": (),
}
SAYS = {
    "01_search_a_gallery.py": "refused: query vectors are in space another-model",
    "02_train_a_compatible_query_model.py": "M(q,g)",
    "03_export.py": "self-test on 8 images",
    "04_index_and_search_your_photos.py": "60 photos indexed",
}


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two runs that the second example leaves, of few layers: by these an export takes its time."""
    pytest.importorskip("torch")
    from compat_export.profile_model import untrained_checkpoint

    folder = tmp_path_factory.mktemp("small-runs")
    fresh = untrained_checkpoint(FEW_LAYERS, size=28, dim=16)
    for role, searches in (("gallery", ()), ("query", ("gallery-16-small",))):
        made = replace(fresh, path=folder / f"{role}-run", role=role, space=f"{role}-16-small", searches=searches)
        made.path.mkdir()
        made.save()
    return folder


def test_every_example_is_listed_and_short() -> None:
    found = sorted(EXAMPLES.glob("*.py"))
    assert [path.name for path in found] == sorted(ARGUMENTS)
    assert all(len(path.read_text().splitlines()) < 60 for path in found)


def run(name: str, out: Path) -> None:
    """As a reader runs it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, "--out", out, *ARGUMENTS[name]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path], None]:
    """The same in this process, which has loaded the libraries and takes warnings as errors too."""

    def call(name: str, out: Path) -> None:
        monkeypatch.setattr(sys, "argv", [name, "--out", str(out), *ARGUMENTS[name]])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        assert SAYS[name] in capsys.readouterr().out

    return call


def test_the_first_example_runs(tmp_path: Path) -> None:
    run("01_search_a_gallery.py", tmp_path)


@pytest.mark.usefixtures("small_sample")
def test_the_second_example_runs(run_here: Callable[[str, Path], None], tmp_path: Path) -> None:
    run_here("02_train_a_compatible_query_model.py", tmp_path)
    assert {path.parent.name for path in tmp_path.glob("*/model.json")} == {"gallery-run", "query-run"}


def test_the_examples_that_follow_run_on_what_the_second_leaves(
    run_here: Callable[[str, Path], None], small_runs: Path
) -> None:
    for name in ("03_export.py", "04_index_and_search_your_photos.py"):
        run_here(name, small_runs)


@pytest.mark.slow
def test_the_examples_run_one_after_another(tmp_path: Path) -> None:
    for name in sorted(ARGUMENTS):
        run(name, tmp_path)
