"""Writes the files beside it with release 0.7.2: everything that the release leaves on disk, at the smallest size.

    pip install "compat-sdk[train,export-onnx,usearch]==0.7.2"
    python tests/golden/0.7/make.py

Run once; the files are committed, and `tests/pipeline/test_files_of_0_7.py` reads them with the code of today. It is no
module of the tests: what it imports is the release, and it is never run again.

    photos/                30 images of 3 classes of the bundled sample
    runs/                  gallery, query, new, side, h: finished RUN folders; interrupted: stopped in its second epoch
    recipe.toml, recipe/   a recipe and the folder of its runs
    bundles/               gallery (folder), query.bundle.zip, pixels (--pixels), h (a transform with side-information)
    galleries/             plain (float32), half (float16), bytes (int8), ann (usearch), side,
                           begun (an upgrade with one of four shards done), over (after the cutover)
    latency.json           of profile --save
    answers/               what the commands printed with --json, and the vectors of the bundles (.npy, rows as photos)
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from compat_sdk import __version__
from compat_sdk.cli.app import main
from compat_sdk.dataset import open_dataset
from compat_sdk.embedder import Embedder
from compat_sdk.upgrade import BundleTransform
from compat_sdk.upgrade import run as upgrade
from compat_train.config import GalleryConfig
from compat_train.methods.gallery import train_gallery
from compat_train.settings import config_from_mapping

HERE = Path(__file__).parent
LARGE, SMALL = "global:plain:4:c3s3c3", "global:plain:3:s3c3s3"
SOURCE = ("--data", "sample", "--scenario", "classes=0-2", "--scenario", "fraction=0.04")
HOW = ("--threads", "1", "--device", "cpu")
SCHEDULE = ("--epochs", "2", "--batch", "8", "--lr", "0.05")
RECIPE = f"""\
description = "A gallery model and a query model, as small as they get."

[source]
data = "sample"
scenario = {{classes = "0-2", fraction = 0.04}}

[execution]
device = "cpu"
threads = 1

[gallery]
arch = "{LARGE}"
dim = 8
preprocessing = {{size = 16}}
optimisation = {{epochs = 1, batch = 8, lr = 0.05}}

[query.bct]
arch = "{SMALL}"
method = "bct"
optimisation = {{epochs = 1, batch = 8, lr = 0.05}}
"""


def command(*words: str) -> str:
    """Runs a command of the release and returns what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            main(list(words))
        except SystemExit as leaving:
            if leaving.code:
                raise
    return printed.getvalue()


def answer(name: str, *words: str) -> None:
    """Keeps a command's words and what it printed with --json."""
    printed = json.loads(command(*words, "--json"))
    text = json.dumps({"command": words, "answer": printed}, indent=1, ensure_ascii=False)
    Path("answers", f"{name}.json").write_text(text + "\n", "utf-8")


class StoppedError(Exception):
    """Stands for a kill."""


def pictures() -> None:
    split = open_dataset("sample").splits["gallery"]
    for label in split.classes[:3]:
        for row in [row for row, found in enumerate(split.labels) if found == label][:10]:
            path = Path("photos", label.replace("/", "-"), f"{row}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[row]).save(path, optimize=True)


def trainings() -> None:
    large = ("--arch", LARGE, "--dim", "8", "--size", "16", *SOURCE, *SCHEDULE, *HOW)
    command("train", "gallery", *large, "--out", "runs/gallery")
    command("train", "gallery", *large, "--seed", "1", "--out", "runs/new")
    command(
        "train", "query", "--gallery", "runs/gallery", "--arch", SMALL, *SOURCE, *SCHEDULE, *HOW, "--out", "runs/query"
    )
    command("train", "side-info", "--method", "alternate", "--arch", SMALL, "--dim", "4", "--size", "16", *SOURCE,
            *SCHEDULE, *HOW, "--out", "runs/side")  # fmt: skip
    command("train", "upgrade", "--old", "runs/gallery", "--new", "runs/new", "--side-info", "runs/side", "--hidden",
            "16", *SOURCE, *SCHEDULE, *HOW, "--out", "runs/h")  # fmt: skip

    def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done > total // 2 + 1:
            raise StoppedError

    settings = json.loads(Path("runs/gallery/model.json").read_text("utf-8"))["model"]["config"]
    with contextlib.suppress(StoppedError):
        train_gallery(config_from_mapping(GalleryConfig, settings), "runs/interrupted", stop)
    command("run", "recipe.toml", "--out", "recipe")


def bundles() -> None:
    command("export", "runs/gallery", "--out", "bundles/gallery.bundle")
    command("export", "runs/query", "--out", "bundles/query.bundle.zip")
    command("export", "runs/query", "--pixels", "--out", "bundles/pixels.bundle")
    command("export", "runs/h", "--out", "bundles/h.bundle")


def galleries() -> None:
    def build(name: str, *words: str) -> None:
        command("index", "build", "--images", "photos", "--out", f"galleries/{name}", "--threads", "1", *words)

    model = ("--model", "bundles/gallery.bundle")
    build("plain", *model)
    build("half", *model, "--dtype", "float16")
    build("bytes", *model, "--dtype", "int8")
    build("ann", *model, "--ann")
    build("begun", *model)
    build("over", *model)
    build("side", "--model", "runs/side", "--device", "cpu")

    def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        raise StoppedError

    opener = BundleTransform.at("bundles/h.bundle", engine="onnxruntime")
    with contextlib.suppress(StoppedError):
        upgrade("galleries/begun", opener, side="galleries/side", workers=1, shard_rows=8, progress=stop)
    done = sorted(Path("galleries/begun/upgrade/shards").glob("*.json"))
    assert len(done) >= 1
    transform = ("--transform", "bundles/h.bundle", "--engine", "onnxruntime")
    command("upgrade", "run", "galleries/over", *transform, "--side", "galleries/side", "--workers", "1")
    command("upgrade", "cutover", "galleries/over")


def answers() -> None:
    Path("answers").mkdir()
    pairs = ("--query", "runs/query", "--gallery", "runs/gallery")
    answer("evaluate", "evaluate", "--data", "sample", *pairs, *HOW)
    answer("profile", "profile", "bundles/query.bundle.zip", "--save", "latency.json")
    answer("bundle-info", "bundle", "info", "bundles/query.bundle.zip")
    answer("transform-info", "bundle", "info", "bundles/h.bundle")
    for name in ("plain", "half", "bytes", "ann", "over"):
        answer(f"index-info-{name}", "index", "info", f"galleries/{name}")
    photos = sorted(str(path) for path in Path("photos").rglob("*.png"))
    query = ("--model", "bundles/query.bundle.zip", "-k", "4", "--threads", "1")
    for name in ("plain", "half", "bytes", "ann"):
        answer(f"search-{name}", "search", f"galleries/{name}", *photos[::6], *query)
    for name in ("gallery.bundle", "query.bundle.zip", "pixels.bundle"):
        embedder = Embedder.load(f"bundles/{name}", engine="onnxruntime", threads=1)
        np.save(f"answers/{name.partition('.')[0]}.npy", embedder.embed(photos).vectors)


def make() -> None:
    assert __version__.startswith("0.7."), f"found compat-sdk {__version__}; expected the release 0.7.2"
    for path in HERE.iterdir():
        if path.name != Path(__file__).name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.chdir(HERE)
    Path("recipe.toml").write_text(RECIPE, "utf-8")
    pictures()
    trainings()
    bundles()
    galleries()
    answers()
    for lock in HERE.rglob("pixels"):
        if lock.parent.name != "interrupted":
            shutil.rmtree(lock)  # "may be deleted afterwards"
    told = str(HERE.resolve()).encode()
    named = [path for path in HERE.rglob("*") if path.is_file() and told in path.read_bytes()]
    assert not named, f"these name a folder of this machine: {named}"
    sys.stdout.write(f"{sum(path.stat().st_size for path in HERE.rglob('*') if path.is_file())} bytes\n")


if __name__ == "__main__":
    make()
