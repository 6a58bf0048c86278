"""`compat-sdk app web`: what is in a site, and what it is not made of."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from compat_sdk.bundle import Bundle
from compat_sdk.gallery import Gallery
from tests.golden.files import copy_of
from tests.pipeline.conftest import Run
from tests.pipeline.sites import onnxruntime_web

MADE = ("app", "web", "--bundle", "bundles/query.bundle.zip", "--gallery", "galleries/plain", "--out", "site")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_of("0.7", tmp_path_factory.mktemp("released") / "work")
    onnxruntime_web(root / "node_modules")
    return root


@pytest.fixture
def root(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder in which the released one's content is seen, and a site may be written."""
    for entry in released.iterdir():
        (tmp_path / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def made(run: Run, *more: str) -> dict[str, Any]:
    code, out, err = run(*MADE, *more, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def test_a_site_holds_what_a_browser_needs_and_keeps_all_but_the_pictures(run: Run, root: Path) -> None:
    told = made(run, "--pictures", "photos", "--title", "My <photos>")
    site = root / "site"
    assert (told["rows"], told["pictures"]) == (30, 30)
    Bundle.open("bundles/query.bundle.zip")
    assert (site / "bundle" / "onnx-fp32" / "model.onnx").is_file()
    assert Gallery.open(site / "gallery").ids == Gallery.open("galleries/plain").ids
    about = json.loads((site / "site.json").read_bytes())
    assert about["title"] == "My <photos>" and about["without"] == []
    for row in range(30):
        with Image.open(site / "pictures" / "0000" / f"{row:07}.jpg") as picture:
            assert max(picture.size) <= 320 and picture.format == "JPEG"
    kept = json.loads(re.search(r"FILES = (.*);", (site / "sw.js").read_text())[1])  # type: ignore[index]
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    asked_for = {
        "sw.js",
        *(name for name in there if name.startswith("pictures/") or re.search("webgpu|asyncify", name)),
    }
    assert set(kept) == there - asked_for and len(asked_for) == 1 + 30 + 3


def test_the_runtime_goes_out_without_its_comments_in_less_than_20_kib(run: Run, root: Path) -> None:
    made(run)
    texts = [path.read_text("utf-8") for path in sorted((root / "site" / "compat-sdk").glob("*.js"))]
    assert not any(re.search(r"^\s|^/[/*]|\*/$", text, re.MULTILINE) for text in texts)
    source = Path(__file__).parents[2] / "sdk" / "web" / "src"
    for line in (line for path in source.glob("*.js") for line in path.read_text("utf-8").splitlines()):
        assert line.count("`") % 2 == 0, line  # no text spans lines, in which an indent would count
    assert len(gzip.compress("".join(texts).encode(), 9)) < 20 * 1024


def test_the_part_for_webgpu_stays_behind_where_it_is_not_wanted(run: Run, root: Path) -> None:
    made(run, "--no-webgpu")
    assert len(list((root / "site" / "ort").iterdir())) == 3
    assert json.loads((root / "site" / "site.json").read_bytes())["webgpu"] is False
    node_modules = onnxruntime_web(root / "older")
    (node_modules / "onnxruntime-web" / "dist" / "ort.webgpu.min.mjs").unlink()
    code, _, err = run(*MADE, "--onnxruntime-web", "older")
    assert code == 1 and "npm install onnxruntime-web@latest" in err and "--no-webgpu" in err
    made(run, "--no-webgpu", "--onnxruntime-web", "older")


def test_the_same_site_is_written_again_in_its_place_and_another_has_another_version(run: Run, root: Path) -> None:
    made(run, "--pictures", "photos")
    first = (root / "site" / "sw.js").read_bytes()
    made(run)
    assert not (root / "site" / "pictures").exists()
    assert (root / "site" / "sw.js").read_bytes() != first
    made(run, "--pictures", "photos")
    assert (root / "site" / "sw.js").read_bytes() == first


def test_an_index_stays_behind(run: Run, root: Path) -> None:
    code, _, err = run(*(word.replace("plain", "ann") for word in MADE))
    assert code == 0, err
    assert not list((root / "site" / "gallery").glob("index-*"))


def test_a_row_without_a_picture_is_told_and_no_id_leads_out_of_the_folder(run: Run, root: Path) -> None:
    import numpy as np

    from compat_sdk.space import Embeddings

    gallery = Gallery.open("galleries/plain")
    mine = Gallery.create(root / "mine", space=gallery.space, dim=gallery.dim)
    (root / "secret.png").write_bytes(b"not to be seen")
    ids = ["Coat/4.png", "../secret.png", str(root / "secret.png"), "Coat/gone.png", "a\0b", "Coat"]
    rows = np.eye(len(ids), gallery.dim, dtype=np.float32)
    mine.add(Embeddings(rows, gallery.space), ids)
    code, _, err = run(*(word.replace("galleries/plain", "mine") for word in MADE), "--pictures", "photos")
    assert code == 0 and "5 of 6 rows have no picture" in err, err
    assert json.loads((root / "site" / "site.json").read_bytes())["without"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--onnxruntime-web", "photos"), "npm install onnxruntime-web"),
        (("--pictures", "bundles"), "has none of the gallery's pictures"),
        (("--pictures", "nowhere"), "is no folder"),
        (("--precision", "int4"), "has no onnx int4 graph"),
        (("--bundle", "bundles/h.bundle"), "is a transform"),
        (("--gallery", "galleries/side"), "is in space"),
        (("--gallery", "one.parts"), "lists the parts of a gallery"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_what_no_site_can_be_made_of_is_refused_before_anything_is_written(
    run: Run, root: Path, more: tuple[str, ...], said: str
) -> None:
    (root / "one.parts").write_text("galleries/plain\n")
    code, out, err = run(*MADE, *more)
    assert code in (1, 2) and said in err and out == "" and not (root / "site").exists(), err


def test_without_the_engine_the_command_of_npm_is_told(run: Run, root: Path) -> None:
    (root / "node_modules").unlink()
    code, _, err = run(*MADE)
    assert code == 1 and "npm install onnxruntime-web" in err and "--onnxruntime-web" in err
