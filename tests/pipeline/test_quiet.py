"""Nothing foreign on the screen: every export target and `doctor`, each in a new process, which loads all that speaks.

Converters and engines warn about themselves as they load, log about kernels for GPUs, and write from native code.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

RUN = Path(__file__).parents[1] / "golden" / "0.7" / "runs" / "query"
NEEDS = {"onnx": "onnxscript", "tflite": "litert_torch", "coreml": "coremltools", "executorch": "executorch"}
pytestmark = pytest.mark.slow  # a new process loads a converter for half a minute


def command(*words: object) -> tuple[str, str]:
    """Output and errors of a command line in a process of its own, with the warnings that a user would see."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    words = (sys.executable, "-m", "compat_cli", *words)
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("target", NEEDS)
def test_an_export_says_what_it_made_and_nothing_foreign(target: str, tmp_path: Path) -> None:
    if find_spec(NEEDS[target]) is None:
        pytest.skip(f"{NEEDS[target]} is not installed")
    out, err = command("export", RUN, "--target", target, "--out", tmp_path / "b")
    assert err == "export: 1/1\n"
    header, row, made = out.splitlines()
    assert header.startswith("target ") and row.startswith(target) and made.startswith(f"{tmp_path / 'b'}: ")


def test_what_loads_an_engine_alone_is_as_quiet(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    command("export", RUN, "--target", "executorch", "--out", tmp_path / "b")
    out, err = command("bundle", "verify", tmp_path / "b")
    assert not re.search(r"torchao|\.cpp:|Enum", out + err), err


def test_doctor_shows_its_tables_alone() -> None:
    out, err = command("doctor")
    assert not err and out.startswith("compat-sdk ")
    assert all(re.match(r"(works|missing) ", line) for line in out.rstrip().rpartition("\n\n")[2].splitlines())
