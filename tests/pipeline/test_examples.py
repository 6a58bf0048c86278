"""The numbered examples, each run as a reader would, in their order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def test_every_example_is_listed_and_short() -> None:
    found = sorted(EXAMPLES.glob("*.py"))
    assert [path.name for path in found] == sorted(ARGUMENTS)
    assert all(len(path.read_text().splitlines()) < 60 for path in found)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_the_example_runs(name: str, out: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, "--out", out, *ARGUMENTS[name]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
