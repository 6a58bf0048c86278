"""examples/edge_box: the unit and the container start what `compat-sdk serve` accepts, and systemd reads the unit."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from compat_cli.app import app

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "examples" / "edge_box" / "compat-search.service").read_text("utf-8")
CONTAINER = (ROOT / "examples" / "edge_box" / "Containerfile").read_text("utf-8")
PAGE = (ROOT / "docs" / "edge-box.md").read_text("utf-8")
START = re.search(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)[1]  # type: ignore[index]
ENTRY = json.loads(re.search(r"^ENTRYPOINT (.*)$", CONTAINER, re.MULTILINE)[1])  # type: ignore[index]


def asked(words: list[str]) -> dict[str, object]:
    """What a command line asks `serve` for, read by the command's own parser."""
    assert Path(words[0]).name == "compat-sdk"
    group: Any = typer.main.get_command(app)
    found: dict[str, object] = group.commands[words[1]].make_context(words[1], words[2:]).params
    return found


def test_the_unit_and_the_container_search_the_same_place_within_their_reach() -> None:
    unit, container = asked(shlex.split(START)), asked(ENTRY)
    assert unit["host"] == "127.0.0.1" and container["host"] == "0.0.0.0"
    for name in ("bundle", "gallery"):
        assert unit[name] == container[name] and Path(str(unit[name])).parent == Path("/srv/search")
    assert f"EXPOSE {container['port']}" in CONTAINER


def test_both_and_their_page_install_the_extras_that_serving_takes() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for text in (UNIT, CONTAINER, PAGE):
        assert "[serve,onnxruntime]" in text and {"serve", "onnxruntime"} <= set(extras)


def test_what_the_container_copies_is_there_and_the_source_stays_out_of_its_last_stage() -> None:
    last = CONTAINER.rpartition("FROM ")[2]
    copies = re.findall(r"^COPY (?!--from)(\S+)", last, re.MULTILINE)
    assert copies == ["constraints.txt"] and (ROOT / copies[0]).is_file()
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".git", ".venv*", "**/node_modules", "build"} <= set(ignored)


def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    program = tmp_path / "compat-sdk"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "compat-search.service"
    unit.write_text(UNIT.replace(shlex.split(START)[0], str(program)))
    told = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
