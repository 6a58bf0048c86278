"""`compat-sdk nas cmp` and what it finds, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_sdk.bundle import Bundle
from compat_sdk.datasets import open_dataset
from tests.pipeline.conftest import Run
from tests.train.folders import write_identities

COMMON = ("--batch", 16, "--lr", 0.05, "--threads", 1, "--device", "cpu")
SEARCH = (
    "--mmacs", 0.6, "--space", "shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=16", "--supernet-epochs", 2,
    "--supernet-lr", 0.05, "--epochs", 1, "--population", 4, "--parents", 2, "--crossovers", 1, "--mutations", 2,
    "--rounds", 2, "--keep", 1, "--static", "shufflenet_v2", "--static-width", 0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nas")


def test_a_search_prints_a_table_draws_a_plot_and_its_network_is_exported(run: Run, work: Path) -> None:
    data = write_identities(work / "data", open_dataset("sample"))
    trained = run(
        "train", "gallery", "--data", data, "--arch", "resnet18", "--width", 0.125, "--size", 32, "--dim", 16,
        "--epochs", 1, *COMMON, "--out", work / "g",
    )  # fmt: skip
    assert trained[0] == 0, trained[2]
    command = ("nas", "cmp", "--data", data, "--gallery", work / "g", *SEARCH, *COMMON, "--out", work / "found")
    code, out, err = run(*command)
    assert code == 0, err
    assert "0.6 / 1" in out and "shufflenet_v2" in out and "paragon" in out
    assert (work / "found" / "pareto.svg").read_text().startswith("<?xml")
    code, out, err = run(*command, "--json")
    assert code == 0, err
    found = json.loads(out)["networks"]
    assert [network["tier"] for network in found] == [0.6, None]
    code, out, err = run("export", found[0]["run"], "--target", "onnx", "--out", work / "bundle")
    assert code == 0, err
    bundle = Bundle.open(work / "bundle")
    assert bundle.manifest.arch == found[0]["arch"] and bundle.manifest.mmacs <= 0.6


def test_a_tier_out_of_reach_says_what_is_within(run: Run, work: Path) -> None:
    command = ("nas", "cmp", "--data", work / "data", "--gallery", work / "g", *SEARCH, *COMMON, "--mmacs", 0.001)
    code, out, err = run(*command, "--out", work / "impossible")
    assert code == 2 and not out
    assert "0.001 MMACs is out of reach" in err and "MMACs at 32 pixels" in err


def test_contradicting_options_are_refused(run: Run, work: Path) -> None:
    command = ("nas", "cmp", "--data", work / "data", "--gallery", work / "g", *SEARCH, "--out", work / "x")
    code, _, err = run(*command, "--no-static")
    assert code == 2 and "--static and --no-static contradict" in err
