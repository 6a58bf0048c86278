"""File names with control codes, and not in UTF-8, on a terminal that shows ASCII alone."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from compat_cli import console, main

NAME = b"\xff\x1b[31m\nx\xc3\xa9.png"


def strictly(patch: pytest.MonkeyPatch) -> dict[str, io.BytesIO]:
    """Standard output and error as strict ASCII; a fixture would be undone by pytest's own capture."""
    found = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, raw in found.items():
        patch.setattr(sys, name, io.TextIOWrapper(raw, "ascii", "strict", write_through=True))
    return found


def test_text_for_a_strict_terminal_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = strictly(monkeypatch)
    console.note(f"warning: {os.fsdecode(NAME)}")
    console.print_text("two\nlines é \x1b")
    assert strict["stderr"].getvalue() == rb"warning: \udcff\x1b[31m\nx\xe9.png" + b"\n"
    assert strict["stdout"].getvalue() == b"two\n" + rb"lines \xe9 \x1b" + b"\n"


def test_json_for_a_strict_terminal_is_the_same_json(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = strictly(monkeypatch)
    value = {"id": os.fsdecode(NAME), "label": "日本"}
    console.print_json(value)
    assert json.loads(strict["stdout"].getvalue()) == value
    assert b"\x1b" not in strict["stdout"].getvalue()


def test_json_has_no_character_that_acts_on_a_terminal_and_is_the_same_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = {"id": "a\u202egpj.\x85\u2028\x9b", "label": "日本"}
    console.print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value and "日本" in printed
    assert all(line.isprintable() for line in printed.splitlines())


def test_a_table_has_a_line_for_each_row_whatever_its_cells_hold() -> None:
    assert console.table(["id", "n"], [["a\nb", "1"]]).split("\n") == ["id    n", r"a\nb  1"]


def test_a_progress_stage_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = strictly(monkeypatch)
    with console.working() as progress:
        progress(f"decode {os.fsdecode(NAME)}", 1, 1, {})
    assert strict["stderr"].getvalue() == rb"decode \udcff\x1b[31m\nx\xe9.png: 1/1" + b"\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_data_info_goes_through_a_folder_with_hostile_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    for split in ("train", "query", "gallery"):
        for label in ("one", "two"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            try:
                for number, name in enumerate((NAME, b"2" + NAME)):
                    picture = folder / os.fsdecode(name)
                    Image.new("RGB", (4, 4), (number, len(split), len(label) * ord(label[0]) % 256)).save(picture)
            except OSError:
                pytest.skip("this file system has names in Unicode only")
    strict = strictly(monkeypatch)
    (tmp_path / "query" / "one" / os.fsdecode(NAME)).write_bytes(b"broken")
    with pytest.raises(SystemExit) as left:
        main(["data", "info", str(tmp_path), *["--json"] * as_json])
    assert left.value.code == 3
    shown = strict["stdout"].getvalue() + strict["stderr"].getvalue()
    assert b"\x1b" not in shown and b"Traceback" not in shown
    if as_json:
        json.loads(strict["stdout"].getvalue())
    else:
        assert rb"\udcff\x1b[31m\nx" in shown


def test_an_error_with_a_hostile_name_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = strictly(monkeypatch)
    with pytest.raises(SystemExit) as left:
        main(["data", "info", str(tmp_path / os.fsdecode(b"\x1b[2J\n\xff"))])
    assert left.value.code == 1
    assert strict["stderr"].getvalue().count(b"\n") == 1 and b"\x1b" not in strict["stderr"].getvalue()
