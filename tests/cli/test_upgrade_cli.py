"""`compat-sdk upgrade`: arguments in, one call, a few lines or JSON out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_cli import pictures
from compat_cli.app import main
from compat_cli.commands import upgrade_options
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk.upgrade.toy import NEW, OLD, Toy, add, expected, make, names, vectors

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """One `compat-sdk upgrade` command: its exit code, its JSON and its stderr."""

    def command(word: str, *arguments: object) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as leaving:
            main(["upgrade", word, *(str(argument) for argument in arguments), "--json"])
        out, err = capsys.readouterr()
        assert isinstance(leaving.value.code, int | None)
        return leaving.value.code or 0, json.loads(out) if out else None, err

    return command


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr(upgrade_options, "opener", lambda *_: Toy())
    return make(tmp_path)


def test_a_gallery_goes_there_and_back(pair: tuple[Path, Path], run: Run) -> None:
    gallery, side = pair
    given = (gallery, "--transform", "toy", "--side", side)
    code, found, _ = run("plan", *given, "--shard-rows", 10)
    assert (code, found["rows"], found["shards"], found["accuracy"]) == (0, 65, 7, None)
    code, found, err = run("run", *given, "--shard-rows", 10, "--workers", 1)
    assert (code, found["transformed"]) == (0, 7) and "transform: 65/65" in err
    assert run("run", *given, "--workers", 1)[1]["transformed"] == 0
    code, found, _ = run("verify", gallery, "--transform", "toy")
    assert (code, found["problems"], found["sampled"]) == (0, [], 65)
    code, found, err = run("cutover", gallery)
    assert code == 1 and "without vectors of the new model" in err and "--unverified" in err
    code, found, _ = run("cutover", gallery, "--unverified")
    assert (code, found["space"], found["rows"], found["left_out"], found["caught_up"]) == (0, NEW, 65, 0, 0)
    add(gallery, None, ["late"])
    code, found, err = run("rollback", gallery)
    assert (code, found) == (1, None) and "late" in err and err.startswith("error: ")
    assert run("rollback", gallery, "--drop-added")[1] == {"space": OLD, "rows": 65, "dropped": ["late"]}
    assert run("cutover", gallery, "--unverified")[0] == 0
    assert run("discard", gallery)[0] == 2
    assert run("discard", gallery, "--old")[1]["bytes"] > 0


def test_the_index_is_built_anew_on_request(pair: tuple[Path, Path], run: Run) -> None:
    pytest.importorskip("usearch")
    gallery, side = pair
    Gallery.open(gallery).build_index(threads=1)
    run("run", gallery, "--transform", "toy", "--side", side, "--workers", 1)
    assert run("cutover", gallery, "--unverified", "--ann")[0] == 0
    assert Gallery.open(gallery).info()["search"] == "usearch"


def test_a_check_that_does_not_hold_is_exit_code_3(pair: tuple[Path, Path], run: Run) -> None:
    gallery, side = pair
    run("run", gallery, "--transform", "toy", "--side", side, "--workers", 1)
    victim = max((gallery / "upgrade" / "shards").glob("vectors-*"))
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.write_bytes(data)
    code, found, err = run("verify", gallery, "--transform", "toy")
    assert code == 3 and len(found["problems"]) == 1 and "1 problem(s)" in err


class NewModel:
    """Embeds an "image", which is an id here, near to where the transform puts it."""

    name, space, dim = "new", NEW, 24

    def __init__(self, wanted: dict[str, np.ndarray]) -> None:
        self.wanted = wanted

    def embed(self, images: list[str]) -> Embeddings:
        return Embeddings(np.stack([self.wanted[image] for image in images]), NEW)


def test_a_sample_of_images_is_embedded_and_compared(
    pair: tuple[Path, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = pair
    model = NewModel(expected(gallery, side))
    ids = ("unknown", *names(65))
    monkeypatch.setattr(pictures, "open_model", lambda _, trust: model)
    monkeypatch.setattr(pictures, "chosen", lambda *_: pictures.Pictures(ids, ids, ("",) * 66))
    run("run", gallery, "--transform", "toy", "--side", side, "--workers", 1)
    given = (
        "verify",
        gallery,
        "--transform",
        "toy",
        "--data",
        "x",
        "--model",
        "new",
        "--sample",
        20,
        "--at-least",
        "worse",
    )
    code, found, _ = run(*given, "--min-cosine", 0.999)
    assert code == 0 and found["accuracy"]["rows"] == 20 and found["accuracy"]["mean_cosine"] > 0.9999
    model.wanted = dict(zip(names(65), vectors(65, 24, 5), strict=True))
    code, found, _ = run(*given, "--min-cosine", 0.5)
    assert code == 3 and "mean cosine" in found["problems"][0]
    for wrong in (["--model", "x"], ["--data", "x"], ["--min-cosine", 0.5]):
        assert run("verify", gallery, "--transform", "toy", *wrong)[0] == 2
