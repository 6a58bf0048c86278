"""A folder of images through every command: train, evaluate, export, index, search, profile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.gallery import Gallery
from tests.pipeline.conftest import Run

TINY = ("--epochs", 1, "--batch", 16, "--lr", 0.05, "--threads", 1, "--device", "cpu")
FEW_LAYERS = ("--arch", "global:plain:16:s3c3s3", "--width", 1)  # converted in a moment
LARGE = ("--arch", "global:residual,stages=2:8:c3s3s3c3", "--width", 1, "--size", 28, "--dim", 16)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def answer(result: tuple[int, str, str]) -> Any:
    """What a command with --json printed: JSON and nothing else."""
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_1_a_gallery_model_is_trained_from_a_folder(run: Run, photos: Path, work: Path) -> None:
    found = answer(run("train", "gallery", "--data", photos, *LARGE, *TINY, "--out", work / "g", "--json"))
    assert (found["role"], found["dim"], found["classes"]) == ("gallery", 16, 3)
    assert (work / "g" / "model.safetensors").is_file()


@pytest.mark.parametrize("method", ["bct", "vanilla"])
def test_2_a_query_model_is_trained_against_it(run: Run, photos: Path, work: Path, method: str) -> None:
    found = answer(
        run("train", "query", "--data", photos, "--gallery", work / "g", "--method", method, *FEW_LAYERS,
            *TINY, "--out", work / method, "--json")
    )  # fmt: skip
    gallery = answer(run("train", "gallery", "--data", photos, *LARGE, *TINY, "--out", work / "g", "--json"))
    assert found["searches"] == ([gallery["space"]] if method == "bct" else [])


def test_3_it_is_evaluated_and_the_rule_decides_the_exit_code(run: Run, photos: Path, work: Path) -> None:
    command = ("evaluate", "--data", photos, "--query", work / "bct", "--gallery", work / "g", "--json", "--threads", 1)
    found = answer(run(*command))
    assert {"query_query", "query_gallery", "gallery_gallery", "compatible", "rule"} <= set(found)
    assert (found["queries"], found["gallery_size"], found["declared"]) == (9, 18, True)
    assert found["gallery_mmacs"] > 0 < found["query_mmacs"]
    code, out, err = run(*command, "--require-compatible")
    assert code == (0 if found["compatible"] else 3)
    assert json.loads(out) == found
    assert ("rule does not hold" in err) != found["compatible"]
    code, out, _ = run(*command[:7], "--threads", 1, "--certify")
    assert code == 0
    assert "M(q,g)" in out and f"certificate: {work / 'bct' / 'certificates'}" in out
    assert found["certificate"] is None and "\ncertificate" not in run(*command[:7], "--threads", 1)[1]


def test_3_what_cannot_be_certified_is_refused(run: Run, photos: Path, work: Path) -> None:
    command = ("evaluate", "--data", photos, "--gallery", work / "g", "--certify", "--threads", 1)
    for words, wrong in (
        (("--query", work / "vanilla"), 1),  # it is in no space that searches the gallery's
        (("--query", work / "bct", "--transform", work / "h"), 2),
    ):
        code, out, err = run(*command, *words)
        assert (code, out) == (wrong, "") and err.count("\n") == 1
    assert not (work / "vanilla" / "certificates").exists()


@pytest.mark.parametrize("name", ["g", "bct"])
def test_4_both_runs_become_bundles(run: Run, work: Path, name: str) -> None:
    pytest.importorskip("onnxscript")
    bundle = work / f"{name}-bundle"
    found = answer(run("export", work / name, "--target", "onnx", "--out", bundle, "--license", "MIT", "--json"))
    assert [graph["target"] for graph in found["graphs"]] == ["onnx"]
    assert found["graphs"][0]["parity"]["worst_cosine"] > 0.9999 and found["graphs"][0]["rank_overlap"] == 1.0
    info = answer(run("bundle", "info", bundle, "--json"))
    assert (info["license"], info["space_covers"]) == ("MIT", "all")
    assert [shown["gallery_space"] for shown in info["certificates"]] == info["searches"]
    assert ("shown by an evaluation on " in run("bundle", "info", bundle)[1]) == (name == "bct")
    assert answer(run("bundle", "verify", bundle, "--threads", 1, "--json"))["min_cosine"] > 0.999
    code, _, err = run("export", work / name, "--out", bundle)
    assert code == 2
    assert "exists" in err


def test_5_the_gallery_is_indexed_and_a_second_build_adds_nothing(run: Run, photos: Path, work: Path) -> None:
    command = ("index", "build", "--model", work / "g-bundle", "--data", photos, "--out", work / "gallery")
    answer(run(*command, "--threads", 1, "--json"))
    assert len(Gallery.open(work / "gallery")) == 18
    code, _, err = run(*command, "--threads", 1)
    assert code == 0
    assert "0 of 18 images added" in err
    code, _, err = run("index", "build", "--model", work / "g-bundle", "--images", photos / "query", "--out",
                       work / "gallery")  # fmt: skip
    assert code == 2
    assert "index add" in err


def test_6_a_run_and_its_bundle_write_the_same_gallery(run: Run, photos: Path, work: Path) -> None:
    answer(run("index", "build", "--model", work / "g", "--data", photos, "--out", work / "gallery-of-run",
               "--threads", 1, "--json"))  # fmt: skip
    of_run, of_bundle = Gallery.open(work / "gallery-of-run"), Gallery.open(work / "gallery")
    assert of_run.ids == of_bundle.ids
    assert (of_run.vectors * of_bundle.vectors).sum(1).min() > 0.9999


def test_7_the_query_bundle_searches_it(run: Run, photos: Path, work: Path) -> None:
    found = answer(
        run("search", work / "gallery", photos / "query", "--model", work / "bct-bundle", "-k", 4, "--json",
            "--threads", 1)
    )  # fmt: skip
    assert len(found["hits"]) == 9
    holds = answer(run("bundle", "info", work / "bct-bundle", "--json"))["certificates"][0]["rule_holds"]
    assert found["certified"] == holds
    for hits in found["hits"]:
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        assert len(hits) == 4 and all(hit["id"] and hit["label"] for hit in hits)
    picture = next((photos / "gallery").rglob("*.png"))
    code, out, _ = run("search", work / "gallery", picture, "--model", work / "g-bundle", "-k", 1, "--threads", 1)
    assert code == 0
    assert "1.0000" in out and picture.name in out


def test_8_a_model_that_was_trained_alone_is_refused(run: Run, photos: Path, work: Path) -> None:
    code, out, err = run("search", work / "gallery", photos / "query", "--model", work / "vanilla", "--json")
    assert (code, out) == (1, "")
    assert "may search no other space" in err
    code, _, err = run("index", "add", work / "gallery", "--model", work / "bct-bundle", "--images", photos / "query")
    assert code == 1
    assert "the gallery was built with" in err


def test_9_photos_are_added_searched_approximately_and_removed(run: Run, photos: Path, work: Path) -> None:
    pytest.importorskip("usearch")
    code, _, err = run("index", "add", work / "gallery", "--model", work / "g-bundle", "--images", photos / "query",
                       "--ann", "--threads", 1)  # fmt: skip
    assert code == 0, err
    gallery = Gallery.open(work / "gallery")
    assert len(gallery) == 27
    found = answer(run("search", work / "gallery", photos / "query", "--model", work / "g-bundle", "-k", 1,
                       "--index", "usearch", "--json", "--threads", 1))  # fmt: skip
    assert min(hits[0]["score"] for hits in found["hits"]) > 0.999
    added = [name for name in gallery.ids if name in {hits[0]["id"] for hits in found["hits"]}]
    assert answer(run("index", "remove", work / "gallery", added[0], "--json"))["rows"] == 26


def test_profiles_of_a_bundle_a_run_and_an_architecture(run: Run, work: Path) -> None:
    found = answer(run("profile", work / "bct-bundle", work / "g", FEW_LAYERS[1], "--size", 32, "--json"))
    assert [row["name"] for row in found][1:] == ["g", FEW_LAYERS[1]]
    assert [row["size"] for row in found] == [28, 28, 32]
    assert all(0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] for row in found)
    assert all(row["mmacs_paper"] > row["mmacs"] > 0 for row in found)


def test_an_unknown_architecture_is_refused_by_name(run: Run) -> None:
    code, out, err = run("profile", "resnet19", "--json")
    assert (code, out) == (2, "")
    assert "resnet19" in err and "resnet18" in err


def test_a_setting_out_of_range_is_refused_before_any_work(run: Run, photos: Path, work: Path) -> None:
    code, _, err = run("train", "gallery", "--data", photos, "--margin", 7, "--out", work / "never")
    assert code == 2
    assert err == "error: --margin is 7.0; expected at least 0 and at most 1\n"
    assert not (work / "never").exists()


def test_ctrl_c_ends_training_with_130_and_the_same_command_goes_on(work: Path) -> None:
    command = [sys.executable, "-m", "compat_cli.app", "train", "gallery", "--data", "sample", "--size", "28",
               *map(str, FEW_LAYERS), "--batch", "32", "--epochs", "200", "--threads", "1",
               "--out", str(work / "long")]  # fmt: skip
    # A shell that started the tests in the background has told its children to ignore the signal; a handler of ours
    # makes the new process heed it again.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    log, deadline = work / "long" / "log.jsonl", time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command continues" in err
    assert not (work / "long" / "model.json").exists()
