"""A command writes into nothing that it did not write: every command that writes, and every wrong place for it.

The models, galleries and bundles are those that release 0.7 left in tests/golden.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image

from compat_cli.app import app
from compat_sdk.errors import ConfigError
from compat_sdk.outputs import delete_own, require_own
from tests.golden.files import copy_of
from tests.pipeline.commands import subcommands
from tests.pipeline.conftest import Run

SAMPLE = ("--data", "sample")
GLOBAL = ("nas", "global", *SAMPLE, "--max-depth", "10", "--device", "cpu")
FOLDERS: dict[str, tuple[str, ...]] = {
    "train gallery": ("train", "gallery", *SAMPLE, "--arch", "resnet18", "--out"),
    "train query": ("train", "query", *SAMPLE, "--gallery", "runs/gallery", "--out"),
    "train side-info": ("train", "side-info", *SAMPLE, "--method", "alternate", "--out"),
    "train upgrade": ("train", "upgrade", *SAMPLE, "--old", "runs/gallery", "--new", "runs/new", "--out"),
    "nas cmp": ("nas", "cmp", *SAMPLE, "--gallery", "runs/gallery", "--mmacs", "100", "--reward", "r2", "--out"),
    "nas global": (*GLOBAL, "--out"),
    "nas blocks": ("nas", "blocks", "shuffle", "--out"),
    "run": ("run", "recipe.toml", "--out"),
    "index build": ("index", "build", "--model", "bundles/gallery.bundle", "--images", "photos", "--out"),
    "gallery import": ("gallery", "import", "vectors.npz", "--space", "toy-5", "--out"),
    "upgrade canary": ("upgrade", "canary", "galleries/over", "--share", "0.5", "--out"),
    "data split": ("data", "split", "photos", "--by", "picture", "--val", "0", "--out"),
    "data build kanji": ("data", "build", "kanji", "--out"),
    "data build clipart": ("data", "build", "clipart", "--out"),
    "adopt": ("adopt", "bundles/gallery.bundle", "--out"),
    "quickstart": ("quickstart", "--out"),
    "app web": ("app", "web", "--bundle", "bundles/query.bundle.zip", "--gallery", "galleries/plain", "--out"),
}
"""Commands that write a folder which they continue or replace; the folder is the last word."""
NEW: dict[str, tuple[str, ...]] = {
    "export": ("export", "runs/query", "--out"),
    "export --overwrite": ("export", "runs/query", "--overwrite", "--out"),
    "bundle unpack": ("bundle", "unpack", "bundles/query.bundle.zip", "--out"),
    "bundle unpack --overwrite": ("bundle", "unpack", "bundles/query.bundle.zip", "--overwrite", "--out"),
    "bundle sign": ("bundle", "sign", "bundles/query.bundle.zip", "--key", "private.pem", "--out"),
}
"""Commands that write a new bundle, or replace one."""
FILES: dict[str, tuple[str, ...]] = {
    "bundle pack": ("bundle", "pack", "bundles/gallery.bundle", "--overwrite", "--out"),
    "profile": ("profile", "bundles/query.bundle.zip", "--save"),
    "gallery export": ("gallery", "export", "galleries/plain", "--to"),
    "profile --blocks": ("profile", "photos", "--blocks", "--save"),
}
"""Commands that write a file."""
IN_A_GALLERY = {"index add", "index remove", "index repair", "index sign"} | {
    f"upgrade {step}" for step in ("run", "cutover", "follow", "rollback", "discard")
}
"""Commands whose argument is a gallery that is there, and is checked by its own format."""


def foreign(root: Path) -> Path:
    (root / "there").mkdir()
    (root / "there" / "notes.txt").write_text("mine")
    return root / "there"


def bundle(root: Path) -> Path:
    return shutil.copytree(root / "bundles" / "gallery.bundle", root / "there")


def gallery(root: Path) -> Path:
    there = shutil.copytree(root / "galleries" / "plain", root / "there")
    (there / "notes.txt").write_text("what makes it foreign to index build too")
    return there


def dataset(root: Path) -> Path:
    for split in ("train", "query", "gallery"):
        (root / "there" / split / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / "there" / split / "cat" / "1.png")
    return root / "there"


def transform_run(root: Path) -> Path:
    return shutil.copytree(root / "runs" / "h", root / "there")


def interrupted_search(root: Path) -> Path:
    (root / "there" / "supernet" / "state").mkdir(parents=True)
    (root / "there" / "tiers").mkdir()
    (root / "there" / "mine").mkdir()
    return root / "there"


def a_file(root: Path) -> Path:
    (root / "there").write_text("mine")
    return root / "there"


def link(root: Path) -> Path:
    foreign(root).rename(root / "elsewhere")
    (root / "there").symlink_to(root / "elsewhere", target_is_directory=True)
    return root / "there"


def link_to_nothing(root: Path) -> Path:
    (root / "there").symlink_to(root / "nowhere")
    return root / "there"


def under_a_file(root: Path) -> Path:
    return a_file(root) / "run"


def inside_a_bundle(root: Path) -> Path:
    return bundle(root) / "run"


PLACES = (
    foreign,
    bundle,
    gallery,
    dataset,
    transform_run,
    interrupted_search,
    a_file,
    link,
    link_to_nothing,
    under_a_file,
    inside_a_bundle,
)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What release 0.7 left; refused commands change nothing of it, so all of them share it."""
    return copy_of("0.7", tmp_path_factory.mktemp("released") / "work")


@pytest.fixture
def root(released: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, and in it a place that each test fills."""
    monkeypatch.chdir(released)
    before = {path.name for path in released.iterdir()}
    yield released
    for path in [path for path in released.iterdir() if path.name not in before]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose own files a test changes."""
    folder = copy_of("0.7", tmp_path / "work")
    monkeypatch.chdir(folder)
    return folder


def digest(folder: Path) -> str:
    """Of every name, link and byte below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        what = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b"/"
        found.update(f"{path.relative_to(folder)}:{len(what)}:".encode() + what)
    return found.hexdigest()


def refused(run: Run, root: Path, *words: object) -> str:
    """What a refused command says; nothing in the working folder has changed."""
    before = digest(root)
    code, out, err = run(*words)
    assert code in (1, ConfigError.exit_code) and out == "", (code, err)
    assert "Traceback" not in err and err.splitlines()[-1].startswith("error: ")
    assert digest(root) == before
    return err


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.__name__))
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_another_wrote_is_refused_and_stays(
    run: Run, root: Path, name: str, place: Callable[[Path], Path]
) -> None:
    said = refused(run, root, *FOLDERS[name], place(root))
    assert "there" in said and ("expected" in said or "choose" in said or "train into another folder" in said)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.__name__))
@pytest.mark.parametrize("name", NEW)
def test_a_bundle_takes_the_place_of_nothing_else(
    run: Run, root: Path, name: str, place: Callable[[Path], Path]
) -> None:
    if name == "bundle sign" and find_spec("model_signing") is None:
        pytest.skip("model-signing is not installed")
    there = place(root)
    if place is bundle and "overwrite" in name:
        (there / "notes.txt").write_text("mine")
    assert "there" in refused(run, root, *NEW[name], there)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.__name__))
@pytest.mark.parametrize("name", FILES)
def test_a_file_takes_the_place_of_nothing_else(run: Run, root: Path, name: str, place: Callable[[Path], Path]) -> None:
    there = place(root)
    suffix = {"bundle pack": ".zip", "gallery export": ".npz"}.get(name, ".json")
    if there.parent == root:
        there = there.rename(root / f"there{suffix}")
    else:
        there = there.with_suffix(suffix)
    assert "there" in refused(run, root, *FILES[name], there)


def test_every_command_that_writes_is_in_a_table_above() -> None:
    tested = {name.removesuffix(" --overwrite").removesuffix(" --blocks") for name in (*FOLDERS, *NEW, *FILES)}
    found = {
        name
        for name, command in commands(typer.main.get_command(app))
        if {"--out", "--save", "--to"} & {word for parameter in command.params for word in parameter.opts}
    }
    assert found == tested


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in subcommands(group).items():
        if subcommands(command):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("upgrade", "run", "galleries/begun", "--transform", "bundles/h.bundle", "--side", "galleries/side"), "begun"),
        (("upgrade", "discard", "galleries/begun"), "begun"),
        (("upgrade", "rollback", "galleries/over"), "over"),
        (("upgrade", "discard", "galleries/over", "--old"), "over"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
@pytest.mark.parametrize("inside", ["notes.txt", "shards/notes.txt", "before/notes.txt", "sources/notes.txt"])
def test_an_upgrade_deletes_nothing_that_it_did_not_write(
    run: Run, fresh: Path, words: tuple[str, ...], wrong: str, inside: str
) -> None:
    path = fresh / "galleries" / wrong / "upgrade" / inside
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert inside in refused(run, fresh, *words)


def test_an_upgrade_in_a_linked_folder_is_refused(run: Run, fresh: Path) -> None:
    folder = fresh / "galleries" / "begun" / "upgrade"
    folder.rename(fresh / "elsewhere")
    folder.symlink_to(fresh / "elsewhere", target_is_directory=True)
    assert "is a link" in refused(run, fresh, "upgrade", "discard", "galleries/begun")


@pytest.mark.parametrize("name", ["state", "pixels"])
def test_a_training_never_writes_or_deletes_behind_a_link(run: Run, fresh: Path, name: str) -> None:
    (fresh / "runs" / "interrupted" / name).rename(fresh / "elsewhere")
    (fresh / "runs" / "interrupted" / name).symlink_to(fresh / "elsewhere", target_is_directory=True)
    assert f"{name} (a link)" in refused(run, fresh, *FOLDERS["train gallery"], "runs/interrupted")


def test_a_recipe_looks_at_the_folders_of_all_its_runs_before_the_first(run: Run, root: Path) -> None:
    (root / "out" / "bct").mkdir(parents=True)
    (root / "out" / "bct" / "notes.txt").write_text("mine")
    said = refused(run, root, "run", "recipe.toml", "--out", "out")
    assert "bct/notes.txt" in said


def test_an_interrupted_training_of_other_settings_is_refused_before_images_are_decoded(run: Run, root: Path) -> None:
    said = refused(run, root, *FOLDERS["train gallery"], "runs/interrupted")
    assert "was started with other settings" in said and "arch was" in said


def test_files_that_systems_leave_in_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"")
    require_own(tmp_path, {"state": {}}, "a test")
    with pytest.raises(ConfigError, match="holds state \\(a file\\), which a test does not write"):
        (tmp_path / "state").write_bytes(b"")
        require_own(tmp_path, {"state": {}}, "a test")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_with_the_name_of_a_file_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(ConfigError, match=r"holds log\.jsonl \(a pipe or a device\)"):
        require_own(tmp_path, {r"log\.jsonl": None}, "a test")


def test_deleting_touches_only_names_of_the_layout_and_nothing_behind_a_link(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    for folder in (state / "inner", elsewhere):
        folder.mkdir(parents=True)
        (folder / "step-1").write_text("ours by name")
    (state / "step-1").write_text("ours")
    (state / "step-2").symlink_to(elsewhere / "step-1")
    (state / ".step-1.0123456789abcdef.tmp").write_text("of a killed writer")
    (state / "notes.txt").write_text("mine")
    delete_own(state, {r"step-\d": None, "inner": {r"step-\d": None}})
    assert sorted(path.name for path in state.iterdir()) == ["notes.txt", "step-2"]
    assert (elsewhere / "step-1").is_file()
    (tmp_path / "link").symlink_to(elsewhere, target_is_directory=True)
    delete_own(tmp_path / "link", {r"step-\d": None})
    assert (elsewhere / "step-1").is_file()
