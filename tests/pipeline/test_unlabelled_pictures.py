"""Commands on pictures without labels: looked at, locked, embedded, learnt from."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from compat_sdk.errors import ConfigError
from tests.golden.files import HERE
from tests.pipeline.conftest import Run

GALLERY = HERE / "0.7" / "runs" / "gallery"


@pytest.fixture
def flat(photos: Path, tmp_path: Path) -> Path:
    """Nine pictures in one folder, and the same in a list and in a tar file beside it."""
    root = tmp_path / "flat"
    root.mkdir()
    for number, path in enumerate(sorted((photos / "query").rglob("*.png"))):
        (root / f"{number}.png").write_bytes(path.read_bytes())
    (tmp_path / "list.txt").write_text("".join(f"flat/{path.name}\n" for path in sorted(root.iterdir())))
    with tarfile.open(tmp_path / "all.tar", "w") as opened:
        for path in sorted(root.iterdir()):
            opened.add(path, path.name)
    return root


def test_info_counts_them_and_finds_no_error(run: Run, flat: Path) -> None:
    for data in (flat, flat.parent / "list.txt", flat.parent / "all.tar"):
        code, out, _ = run("data", "info", data, "--lock", "--json")
        train = json.loads(out)["splits"]["train"]
        assert code == 0 and (train["images"], train["classes"]) == (9, 0)
    (flat / "0.png").write_bytes((flat / "1.png").read_bytes())
    code, _, err = run("data", "info", flat)
    assert code == 1 and "is not what compat-data.lock.json locked" in err


def test_each_kind_is_embedded_and_a_changed_tar_file_is_noticed(run: Run, flat: Path) -> None:
    root = flat.parent
    made = {}
    for kind, place in (("folder", flat), ("list", root / "list.txt"), ("tar", root / "all.tar")):
        out = root / f"{kind}.gallery"
        code, said, err = run("index", "build", "--model", GALLERY, "--images", place, "--out", out, "--json")
        assert code == 0, err
        made[kind] = json.loads(said)["rows"]
    assert made == {"folder": 9, "list": 9, "tar": 9}
    of_data = ("--data", flat, "--split", "train", "--out", root / "data.gallery", "--json")
    code, said, _ = run("index", "build", "--model", GALLERY, *of_data)
    assert code == 0 and json.loads(said)["rows"] == 9
    with tarfile.open(root / "all.tar", "w") as opened:
        for path in sorted(flat.iterdir()):
            opened.add(flat / "8.png" if path.name == "0.png" else path, path.name)
    code, _, err = run("index", "add", root / "tar.gallery", "--model", GALLERY, "--images", root / "all.tar")
    assert code == 2 and "1 pictures have an id under which the gallery holds another picture, such as 0.png" in err


def test_a_command_that_needs_labels_says_so_in_one_line_before_any_work(run: Run, flat: Path) -> None:
    out = flat.parent / "run"
    trained = ("--gallery", GALLERY, "--arch", "resnet18", "--out", out)
    for words in (
        ("train", "query", "--data", flat, "--method", "bct", *trained),
        ("train", "gallery", "--data", flat, "--arch", "resnet18", "--out", out),
        ("train", "side-info", "--data", flat, "--method", "alternate", "--out", out),
    ):
        code, _, err = run(*words)
        assert code == 1 and "have no labels, which" in err and "Traceback" not in err
        assert len(err.strip().splitlines()[-1].replace(str(flat), "")) < 300 and not out.exists()


def test_settings_of_views_that_would_do_nothing_are_refused_by_their_flags(run: Run, flat: Path) -> None:
    out = flat.parent / "run"
    trained = ("train", "query", "--data", flat, "--gallery", GALLERY, "--method", "regression", "--out", out)
    code, _, err = run(*trained, "--fixed-views", 4)
    assert code == ConfigError.exit_code and "--fixed-views is 4, but an image has 1 view(s)" in err
    code, _, err = run(*trained, "--random-crop", 0.5, "--canvas", 8)
    assert code == ConfigError.exit_code and "--canvas is 8, and a model sees" in err
