"""File names with control codes, and not in UTF-8, on a terminal that shows ASCII alone."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compat_cli import console, main
from compat_sdk.bundle import Graph
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings, TransformSpaces
from tests.sdk.bundles import DIM, make_bundle, onnx_graph

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


HOSTILE = "a\x1b[31m\nZZ"
"""A name that would colour the terminal and make a line of its own."""


def commands(work: Path) -> dict[str, tuple[object, ...]]:
    """Commands that show names of files, models, makers or rows, on things that have such names."""
    bundle, gallery, photos = work / f"{HOSTILE}.bundle", work / f"{HOSTILE}.gallery", work / HOSTILE
    model = ("--model", bundle)
    return {
        "bundle info": ("bundle", "info", bundle),
        "bundle verify": ("bundle", "verify", bundle),
        "bundle pack": ("bundle", "pack", bundle, "--out", work / f"{HOSTILE}.zip"),
        "index build": ("index", "build", *model, "--images", photos, "--out", work / f"{HOSTILE}2"),
        "index add": ("index", "add", gallery, *model, "--images", photos, "--prefix", HOSTILE),
        "index info": ("index", "info", gallery),
        "index verify": ("index", "verify", gallery),
        "index compact": ("index", "compact", gallery),
        "index remove": ("index", "remove", gallery, HOSTILE),
        "index repair": ("index", "repair", gallery),
        "search": ("search", gallery, photos, *model, "-k", 2),
        "upgrade verify": ("upgrade", "verify", gallery),
        "upgrade rollback": ("upgrade", "rollback", gallery),
        "profile": ("profile", bundle, "--save", work / f"{HOSTILE}.json"),
        "evaluate": ("evaluate", "--data", work / HOSTILE, "--query", bundle, "--gallery", bundle),
        "data info": ("data", "info", work / HOSTILE),
        "train": ("train", "gallery", "--data", work / HOSTILE, "--out", work / HOSTILE / "run"),
        "export": ("export", work / HOSTILE, "--out", work / f"{HOSTILE}3"),
        "nas cmp": ("nas", "cmp", "--data", work / HOSTILE, "--gallery", work / HOSTILE, "--out", work / "n"),
        "doctor": ("doctor",),
        "settings": ("settings", HOSTILE),
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("hostile")
    bundle = make_bundle(
        work / f"{HOSTILE}.bundle", onnx_graph(output=HOSTILE), license=HOSTILE, arch=HOSTILE, created_by=HOSTILE,
        graphs=(Graph("onnx", "fp32", "model.onnx", output=HOSTILE),),
    )  # fmt: skip
    gallery = Gallery.create(
        work / f"{HOSTILE}.gallery", space=bundle.manifest.space, dim=DIM, model={"name": HOSTILE, "path": HOSTILE}
    )
    gallery.add(Embeddings(np.eye(DIM, dtype=np.float32)[:2], gallery.space), [HOSTILE, "b"], [HOSTILE, HOSTILE])
    for split in ("query", "gallery"):
        (work / HOSTILE / split / HOSTILE).mkdir(parents=True)
        Image.new("RGB", (4, 4), (len(split), 9, 9)).save(work / HOSTILE / split / HOSTILE / f"{HOSTILE}.png")
    return work


@pytest.mark.skipif(os.name == "nt", reason="its file systems have no such names")
@pytest.mark.parametrize("name", commands(Path()))
def test_no_name_acts_on_the_terminal_or_makes_a_line_of_its_own(
    work: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("train", "export", "nas cmp", "evaluate"):
        pytest.importorskip("torch")
    strict = strictly(monkeypatch)
    monkeypatch.setenv("COMPAT_SDK_STATE", str(work / "state"))
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in commands(work)[name]])
    shown = b"".join(stream.getvalue() for stream in strict.values())
    assert left.value.code in (None, 0, 1, 2, 3) and b"Traceback" not in shown and b"\x1b" not in shown
    assert not [line for line in shown.split(b"\n") if line.startswith(b"ZZ")], shown.decode()


@dataclass
class Finished:
    """What a training or a run gave, in a folder of a hostile name."""

    path: Path
    role: str = "query"
    method: str = "fct"
    arch: str = "resnet18"
    dim: int = 8
    space: str = "resnet18-8-0123456789ab"
    searches: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    spaces: TransformSpaces | None = None


REPORTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "train side-info": ("compat_train.methods.side_info", "train_side_info", ()),
    "train upgrade": ("compat_train.methods.upgrade", "train_upgrade", ("--old", "old", "--new", "new")),
    "train gallery": ("compat_train.methods.gallery", "train_gallery", ()),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_training_tells_its_folder_in_one_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    module, function, more = REPORTS[name]
    finished = Finished(tmp_path / HOSTILE, spaces=TransformSpaces("old", 8, None, None, "new", 8))
    monkeypatch.setattr(f"{module}.{function}", lambda *_, **__: finished)
    with pytest.raises(SystemExit) as left:
        main([*name.split(), "--data", "sample", "--out", str(tmp_path / HOSTILE), *more])
    out = capsys.readouterr().out
    assert not left.value.code and r"a\x1b[31m\nZZ: " in out.splitlines()[0]
    assert "\x1b" not in out and not any(line.startswith("ZZ") for line in out.splitlines())


def test_an_upgrade_tells_its_gallery_in_one_line(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from compat_sdk.upgrade import RunResult

    def run(*_: Any, **__: Any) -> RunResult:
        return RunResult(rows=2, added=2, shards=1, transformed=1, seconds=0.1)

    monkeypatch.setattr("compat_sdk.upgrade.run", run)
    monkeypatch.setattr("compat_cli.commands.upgrade_options.opener", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        main(["upgrade", "run", str(work / f"{HOSTILE}.gallery"), "--transform", "h.bundle"])
    out = capsys.readouterr().out
    assert not left.value.code and out.count("\n") == 1 and r"a\x1b[31m\nZZ.gallery" in out


def test_an_error_about_a_path_of_any_length_is_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    strict = strictly(monkeypatch)
    for words in (["data", "info", "x" * 5000], ["index", "info", "x" * 5000], ["bundle", "info", "x/" * 2000]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 1
    lines = strict["stderr"].getvalue().splitlines()
    assert len(lines) == 3 and all(len(line) < 620 and line.startswith(b"error: ") for line in lines)


def test_an_id_that_no_path_can_be_is_a_row_without_a_picture(tmp_path: Path) -> None:
    from compat_cli.pages.website import _pictures_of

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert _pictures_of(["x" * 5000, "a\0b", "../a.png", "a.png"], tmp_path) == {3: tmp_path.resolve() / "a.png"}
