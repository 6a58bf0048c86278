"""Every script of benchmarks/ still runs, and every command that a page or a script names is one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(FOLDER.rglob("*.py"))]
# In one fresh process, for scripts set variables of the environment as they are imported.
LOAD_ALL = """
import contextlib, importlib, io, json, sys
modules, helps = json.loads(sys.argv[1]), {}
for name in modules:
    module = importlib.import_module(name)
    if hasattr(module, "main"):
        sys.argv, shown = [name, "--help"], io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            module.main()
        helps[name] = shown.getvalue()
print(json.dumps(helps))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What ``--help`` prints, by script."""
    pytest.importorskip("onnxruntime")
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, json.dumps(MODULES)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_module_imports_and_every_script_has_help(helps: dict[str, str]) -> None:
    assert len(helps) > 10
    assert not [name for name, text in helps.items() if "usage:" not in text]


def test_every_command_that_is_written_down_is_a_script_with_these_options(helps: dict[str, str]) -> None:
    written: set[tuple[str, str]] = set()
    for path in [*FOLDER.rglob("*.md"), *FOLDER.rglob("*.py"), ROOT / "README.md"]:
        written |= set(re.findall(r"python -m (benchmarks(?:\.\w+)+)([^\n#]*)", path.read_text()))
    table = re.findall(r"^\|[^|]*\|[^|]*\|[^|]*\| `((?:speed|accuracy|studies)\.[\w.]+)([^`]*)`", index(), re.MULTILINE)
    written |= {(f"benchmarks.{name}", options) for name, options in table}
    assert len(written) > 20
    for name, options in sorted(written):
        assert name in helps, f"python -m {name} is no script"
        unknown = [option for option in re.findall(r"--[a-z-]+", options) if option not in helps[name]]
        assert not unknown, f"python -m {name} has no {', '.join(unknown)}"


def test_every_script_is_in_the_index(helps: dict[str, str]) -> None:
    assert not [name for name in helps if f"`{name.removeprefix('benchmarks.')}" not in index()]


def test_every_link_of_the_pages_leads_to_a_file() -> None:
    for page in FOLDER.rglob("*.md"):
        links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        assert not [link for link in links if "://" not in link and not (page.parent / link).is_file()], page


def index() -> str:
    return (FOLDER / "README.md").read_text()
