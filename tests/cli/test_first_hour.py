"""What a stranger meets in the first hour: other kinds than wanted, unreadable pictures, figures, whole summaries."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from PIL import Image

from compat_cli import console
from compat_cli.app import app
from compat_cli.pages.pareto import _ticks
from compat_sdk import Embedder, Gallery
from compat_sdk.errors import BundleError, DataError, IncompatibleSpaceError
from compat_sdk.install import install_command
from compat_sdk.kinds import instead_of, kind_of
from compat_sdk.space import Embeddings
from tests.cli.test_cli import run as run_captured
from tests.golden.files import copy_of
from tests.pipeline.commands import subcommands

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a command line."""
    return lambda *words: run_captured(capsys, *words)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of("0.7", tmp_path_factory.mktemp("hour") / "work")


RUN, BUNDLE, ZIP, GALLERY = "runs/query", "bundles/gallery.bundle", "bundles/query.bundle.zip", "galleries/plain"


def test_a_path_tells_what_it_is(work: Path) -> None:
    kinds = {
        name: kind_of(work / name) for name in (RUN, BUNDLE, ZIP, GALLERY, "photos", "runs/interrupted", "nowhere")
    }
    assert kinds == {
        RUN: "RUN", BUNDLE: "bundle", ZIP: "bundle", GALLERY: "gallery", "photos": None,
        "runs/interrupted": "unfinished RUN", "nowhere": None,
    }  # fmt: skip
    assert instead_of("bundle", work / BUNDLE) is None and instead_of("gallery", work / "photos") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("search", RUN, "x.png", "--model", BUNDLE), "expected a gallery: compat-sdk index build --model runs/query"),
        (("search", BUNDLE, "x.png", "--model", BUNDLE), "is a bundle, a model; expected a gallery"),
        (("search", GALLERY, "x.png", "--model", GALLERY), "is a gallery: it holds stored vectors; expected a RUN"),
        (("bundle", "info", RUN), "is a RUN: export it first: compat-sdk export runs/query --target onnx"),
        (("bundle", "verify", RUN), "is a RUN: export it first"),
        (("bundle", "pack", RUN, "--out", "x.zip"), "is a RUN: export it first"),
        (("bundle", "info", GALLERY), "is a gallery: it holds stored vectors; expected a bundle"),
        (("index", "info", BUNDLE), "is a bundle, a model; expected a gallery: compat-sdk index build"),
        (("index", "info", RUN), "is a RUN, a model; expected a gallery"),
        (
            ("export", BUNDLE, "--out", "x.bundle"),
            "is a bundle, which `compat-sdk export` made of a RUN; expected that",
        ),
        (("export", ZIP, "--out", "x.bundle"), "is a bundle, which `compat-sdk export` made of a RUN; expected that"),
        (("export", GALLERY, "--out", "x.bundle"), "is a gallery: it holds stored vectors; expected a RUN"),
        (("profile", GALLERY), "is a gallery: it holds stored vectors; expected a RUN"),
        (("data", "info", BUNDLE), "is a bundle: it holds a model; expected a dataset"),
        (("data", "info", RUN), "is a RUN: it holds a model; expected a dataset"),
        (("data", "info", GALLERY), "is a gallery: it holds stored vectors; expected a dataset"),
        (
            ("train", "query", "--data", "sample", "--gallery", GALLERY, "--out", "x"),
            "is a gallery: it holds stored vectors; expected a RUN",
        ),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
def test_another_kind_than_wanted_is_named_with_what_to_do(
    run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(work)
    Image.new("RGB", (8, 8)).save("x.png")
    code, out, err = run(*words)
    assert code in (1, 2) and not out and said in err and "Traceback" not in err


def test_the_runtime_says_so_too(work: Path) -> None:
    with pytest.raises(BundleError, match="is a RUN: export it first"):
        Embedder.load(work / RUN)


def test_a_run_on_a_device_without_torch_wants_to_be_exported(
    run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compat_cli.extras.find_spec", lambda name: None)
    monkeypatch.chdir(work)
    Image.new("RGB", (8, 8)).save("x.png")
    code, _, err = run("search", GALLERY, "x.png", "--model", RUN)
    assert code == 2 and "is a RUN: export it first" in err


def test_one_unreadable_picture_does_not_end_a_search_of_several(
    run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    first, second = sorted(Path("photos").rglob("*.png"))[:2]
    Path("bad.jpg").write_bytes(b"no picture")
    model = ("--model", "bundles/gallery.bundle", "-k", "1")
    alone = json.loads(run("search", GALLERY, first, second, *model, "--json")[1])
    code, out, err = run("search", GALLERY, first, "bad.jpg", second, *model, "--json")
    assert code == 0 and "warning: left out: cannot read image bad.jpg" in err
    found = json.loads(out)
    assert found["hits"] == alone["hits"] and found["queries"] == [str(first), str(second)]
    assert found["unreadable"] == ["bad.jpg"]
    for words in (("bad.jpg",), ("bad.jpg", "bad.jpg")):
        code, out, err = run("search", GALLERY, *words, *model)
        assert (code, out) == (1, "") and "cannot read image bad.jpg" in err


def test_info_is_for_people_and_its_json_stays(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    text = run("bundle", "info", BUNDLE)[1] + run("index", "info", GALLERY)[1]
    assert "million multiply-accumulates for one image" in text and " images of " in text
    assert not [line for line in text.splitlines() if line.split(": ")[0] in ("mmacs", "bytes") and len(line) > 90]
    assert ": {" not in text and ": None" not in text
    facts = json.loads(run("index", "info", GALLERY, "--json")[1])
    assert facts["rows"] == len(Gallery.open(GALLERY)) and facts["index"] is None
    assert json.loads(run("bundle", "info", BUNDLE, "--json")[1])["mmacs"] > 0


def groups(command: object, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = subcommands(command)
    return ([words] if below else []) + [each for name, one in below.items() for each in groups(one, (*words, name))]


@pytest.mark.parametrize("words", groups(typer.main.get_command(app)), ids=" ".join)
def test_help_cuts_no_summary_off(run: Run, words: tuple[str, ...]) -> None:
    code, out, _ = run(*words, "--help")
    said = "".join(out.partition("Commands:")[2].split())
    assert code == 0 and said and "..." not in said
    group = typer.main.get_command(app)
    for word in words:
        group = subcommands(group)[word]
    for command in subcommands(group).values():
        assert "".join((command.help or "").partition("\n\n")[0].split()) in said


def test_the_sentence_about_spaces_is_that_of_the_place(work: Path) -> None:
    held_out = work / "galleries" / "plain"
    from compat_sdk.upgrade.plan import open_held_out

    with pytest.raises(IncompatibleSpaceError, match=r"held-out gallery .* build it with the new model") as caught:
        open_held_out(held_out, "new-8-0123456789abcdef", 8)
    assert "queries" not in str(caught.value)
    import numpy as np

    with pytest.raises(IncompatibleSpaceError, match="embed the queries with"):
        Gallery.open(held_out).search(Embeddings(np.eye(1, Gallery.open(held_out).dim, dtype=np.float32), "other"), 1)


@pytest.mark.parametrize(("low", "high"), [(11.0, 11.4), (99.0, 101.0), (1.0, 300.0), (0.2, 0.21), (1490.0, 1530.0)])
def test_the_cost_axis_has_ticks_however_close_the_costs_are(low: float, high: float) -> None:
    pytest.importorskip("matplotlib")
    ticks = _ticks(low, high)
    assert len(ticks) >= 3 and all(low <= tick <= high for tick in ticks)
    assert len({f"{tick:.6g}" for tick in ticks}) == len(ticks)


def test_install_hints_are_for_the_clone_that_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "sdk" / "compat_sdk").mkdir(parents=True)
    monkeypatch.setattr("compat_sdk.install.__file__", str(clone / "sdk" / "compat_sdk" / "install.py"))
    assert install_command("timm") == 'pip install "compat-sdk[timm]"'
    (clone / "pyproject.toml").touch()
    assert install_command("timm") == f'pip install -e "{clone}[timm]"'
    monkeypatch.chdir(clone)
    assert install_command("timm") == 'pip install -e ".[timm]"'


def test_what_native_code_writes_is_kept_back_unless_the_work_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with console.working():
        os.write(2, b"INFO: an engine speaks of itself\n")
        console.note("ours")
    assert "an engine" not in capfd.readouterr().err
    with pytest.raises(DataError), console.working():
        os.write(2, b"INFO: an engine speaks of itself\n")
        raise DataError("ours")
    assert "an engine" not in capfd.readouterr().err
    with pytest.raises(RuntimeError), console.working():
        os.write(2, b"the reason\n")
        raise RuntimeError("not ours")
    assert "the reason" in capfd.readouterr().err


def test_a_bundle_in_a_folder_with_spaces_is_told_in_words_to_type(work: Path, tmp_path: Path) -> None:
    place = tmp_path / "my runs" / "query"
    shutil.copytree(work / RUN, place)
    assert f"compat-sdk export '{place}' --target onnx" in str(instead_of("bundle", place))
