"""`compat-sdk upgrade` of a collection, by the galleries and the transform of release 0.7."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_sdk.gallery import Gallery
from tests.cli.test_gallery_cli import run
from tests.golden.files import copy_of

PLACE = "qdrant+path:store#photos"
WITH = ("--transform", "bundles/h.bundle", "--side", "galleries/side")


def test_a_collection_goes_through_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("qdrant_client", "onnxruntime"):
        pytest.importorskip(module)
    monkeypatch.chdir(copy_of("0.7", tmp_path / "work"))
    before = Gallery.open("galleries/plain")

    def done(*words: object) -> str:
        code, out, err = run(capsys, *words)
        assert code == 0, (words, err)
        return out

    done("gallery", "export", "galleries/plain", "--to", PLACE)
    assert "none: qdrant+path:store#photos is in space" in done("upgrade", "status", PLACE)
    plan = json.loads(done("upgrade", "plan", PLACE, *WITH, "--json"))
    assert plan["rows"] == plan["remaining"] == len(before)
    ran = json.loads(done("upgrade", "run", PLACE, *WITH, "--json"))
    assert ran["changed"] == len(before) and ran["collection"].startswith("photos--")
    assert json.loads(done("upgrade", "status", PLACE, "--json"))["stage"] == "running"
    code, _, err = run(capsys, "upgrade", "cutover", PLACE, *WITH)
    assert code == 1 and "was not verified" in err
    code, _, err = run(capsys, "upgrade", "cutover", PLACE, "--unverified")
    assert code == 2 and "give its --transform" in err
    told = done("upgrade", "verify", PLACE, *WITH, "--at-least", "worse")
    assert "no problems" in told and "lowest cosine 1.0000" in told
    assert json.loads(done("upgrade", "status", PLACE, "--json"))["stage"] == "verified"
    cut = json.loads(done("upgrade", "cutover", PLACE, *WITH, "--unverified", "--json"))
    assert cut["space"] == ran["space"] != before.space
    assert ran["space"] in done("gallery", "info", PLACE) and ran["space"] in done("index", "info", PLACE)
    assert json.loads(done("upgrade", "status", PLACE, "--json"))["stage"] == "over"
    assert before.space in done("upgrade", "rollback", PLACE)
    done("upgrade", "cutover", PLACE, *WITH, "--unverified")
    assert ran["space"] in done("upgrade", "discard", PLACE, "--old")
    back = json.loads(done("gallery", "import", PLACE, "--out", "back", "--json"))
    assert (back["rows"], back["space"]) == (len(before), ran["space"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", PLACE, "--transform", "none", "--shard-rows", "2"), "--shard-rows is about the files"),
        (("plan", PLACE, "--transform", "none", "--shard-rows", "2"), "--shard-rows is about the files"),
        (("cutover", PLACE, "--transform", "none", "--workers", "1"), "--workers is about the files"),
        (("verify", "galleries/plain", "--transform", "none", "--side", "galleries/side"), "--side is for collections"),
    ],
)
def test_an_option_of_the_other_kind_of_gallery_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "upgrade", *words)
    assert (code, out) == (2, "") and said in err


def test_a_collection_is_given_the_name_of_its_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = pytest.importorskip("qdrant_client")
    monkeypatch.chdir(tmp_path)
    client = module.QdrantClient(path="store")
    params = module.models.VectorParams(size=4, distance=module.models.Distance.COSINE)
    client.create_collection("photos", vectors_config={"clip": params, "other": params})
    client.close()
    code, _, err = run(capsys, "gallery", "name", PLACE, "--space", "s-4")
    assert code == 2 and "name one of them" in err
    named = f"{PLACE}?vector=clip"
    code, _, err = run(capsys, "index", "info", named)
    assert code == 2 and "names no space" in err
    assert run(capsys, "gallery", "name", named, "--space", "s-4")[0] == 0
    assert "s-4" in run(capsys, "index", "info", named)[1]
    code, _, err = run(capsys, "gallery", "name", named, "--space", "s-5")
    assert code == 1 and "told as s-5" in err
    assert run(capsys, "gallery", "name", f"{PLACE}?vector=other", "--space", "s-5")[0] == 0
    assert "s-4" in run(capsys, "index", "info", named)[1]
