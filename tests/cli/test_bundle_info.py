"""What `compat-sdk bundle info` says of a graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_cli.app import main
from compat_sdk.bundle import Graph
from tests.sdk.bundles import PREPROCESSING, make_bundle
from tests.sdk.transforms import make_transform


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit):
        main(["bundle", "info", *map(str, words)])
    return capsys.readouterr().out


def test_a_graph_that_takes_pixels_says_so_with_its_form_and_its_arithmetic(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    graph = Graph("onnx", "fp32", "model.onnx", batch=2, layout="nhwc", values="pixels")
    path = make_bundle(tmp_path / "b", graphs=(graph,), preprocessing=PREPROCESSING.inside_graph()).path
    assert "    image [2, 16, 16, 3] nhwc, pixels: 0 to 255 as they are, rgb -> embedding [2, 8]\n" in said(
        capsys, path
    )
    (found,) = json.loads(said(capsys, path, "--json"))["graphs"]
    assert found.pop("bytes") == 32
    assert found == {
        "target": "onnx",
        "precision": "fp32",
        "file": "model.onnx",
        "inputs": ["image"],
        "output": "embedding",
        "layout": "nhwc",
        "batch": 2,
        "values": "pixels",
        "min_cosine": 0.999,
        "channels": "rgb",
        "scale": [1.0, 1.0, 1.0],
        "offset": [0.0, 0.0, 0.0],
    }


def test_the_arithmetic_of_a_prepared_graph_is_that_of_the_preprocessing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = make_bundle(tmp_path / "b").path
    (found,) = json.loads(said(capsys, path, "--json"))["graphs"]
    assert found["scale"] == pytest.approx([2 / 255] * 3) and found["offset"] == [-1.0] * 3
    assert "image [any, 3, 16, 16] nchw, prepared: pixel * [0.00784314, " in said(capsys, path)


def test_a_transform_says_which_vectors_its_graphs_take(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = make_transform(tmp_path / "h").path
    assert "    old [any, 6], side [any, 3] -> embedding [any, 5]\n" in said(capsys, path)
    (found,) = json.loads(said(capsys, path, "--json"))["graphs"]
    assert (found["inputs"], found["scale"], found["offset"]) == (["old", "side"], None, None)
