"""Which graph of a bundle runs on which engine, and what the embedder feeds it."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.bundle import Bundle, Graph
from compat_sdk.embedder import Embedder
from compat_sdk.engines import choice as engine_module
from compat_sdk.engines import choose_graph, open_engine, open_graph
from compat_sdk.engines.choice import ENGINES
from compat_sdk.errors import BundleError, ConfigError, ImageError, MissingExtraError
from compat_sdk.images import Preprocessing, to_input, to_pixels
from compat_sdk.install import install_command
from tests.sdk.bundles import SIZE, LinearEngine, make_bundle, picture
from tests.sdk.engines.tiny import DIM, GRAPHS, embed

FILES = {"onnx": "tiny.onnx", "tflite": "tiny.tflite", "executorch": "tiny.pte"}
PACKAGES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert", "executorch": "executorch"}
PREPARED = Preprocessing(size=8)


def golden() -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(5).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    pixels[0] = to_pixels(picture(), PREPARED)
    return pixels, embed(to_input(pixels, PREPARED))


def tiny_bundle(path: Path, *graphs: Graph, **changes: Any) -> Bundle:
    """A bundle of the tiny network; a package for Core ML is not a real one."""
    files = {}
    for graph in graphs:
        if graph.target in FILES:
            files[graph.file] = (GRAPHS / FILES[graph.target]).read_bytes()
        else:
            files[f"{graph.file}/Manifest.json"] = b"{}"
    settings = {"preprocessing": PREPARED, "golden": golden(), "graphs": graphs, "graph_files": files}
    return make_bundle(path, **(settings | changes))


def graph(target: str, precision: str = "fp32", **fields: Any) -> Graph:
    return Graph(target=target, precision=precision, file=f"{precision}/model.{target}", **fields)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that seem to be installed, to be changed at will."""
    packages: set[str] = set()
    monkeypatch.setattr(engine_module, "find_spec", lambda name: object() if name in packages else None)
    return packages


@pytest.mark.parametrize("target", sorted(FILES))
def test_a_bundle_of_any_format_passes_its_self_test(tmp_path: Path, target: str) -> None:
    if importlib.util.find_spec(PACKAGES[target]) is None:
        pytest.skip(f"{PACKAGES[target]} is not installed")
    embedder = Embedder.load(tiny_bundle(tmp_path / "b", graph(target)), threads=1, batch=3)
    assert embedder.self_test().max_abs_difference < 1e-5


@pytest.mark.parametrize("target", sorted(FILES))
def test_a_damaged_graph_is_refused_before_its_parser_sees_it(tmp_path: Path, target: str) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph(target))
    file = tmp_path / "b" / bundle.manifest.graphs[0].file
    whole = file.read_bytes()
    for damaged in (b"", bytes(len(whole)), whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(damaged)
        with pytest.raises(BundleError):
            open_graph(bundle, bundle.manifest.graphs[0])
        with pytest.raises(BundleError):
            Bundle.open(bundle.path)


def test_auto_takes_the_first_installed_engine_that_has_a_graph(tmp_path: Path, installed: set[str]) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("executorch"), graph("tflite", "fp16"), graph("onnx"))
    installed |= {"executorch"}
    assert choose_graph(bundle).target == "executorch"
    installed |= {"ai_edge_litert"}
    assert choose_graph(bundle).target == "tflite"
    installed |= {"onnxruntime"}
    assert choose_graph(bundle).target == "onnx"
    assert choose_graph(bundle, precision="fp16").target == "tflite"
    expected = ("auto", "onnxruntime", "litert", "coreml", "executorch", "onnxruntime:cuda", "onnxruntime:coreml")
    assert expected == ENGINES


def test_auto_takes_core_ml_on_a_mac_only(tmp_path: Path, installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("coreml"), graph("executorch"))
    installed |= {"coremltools", "executorch"}
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert choose_graph(bundle).target == "executorch"
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert choose_graph(bundle).target == "coreml"


def test_without_any_of_its_engines_the_bundles_graphs_and_the_extras_are_listed(
    tmp_path: Path, installed: set[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("tflite", "int8"), graph("onnx"))
    with pytest.raises(MissingExtraError) as caught:
        open_engine(bundle)
    text = str(caught.value)
    assert "tflite int8, onnx fp32" in text
    assert f"{install_command('onnxruntime')} or {install_command('litert')}" in text
    assert (caught.value.package, caught.value.extra) == ("onnxruntime", "onnxruntime")
    with pytest.raises(MissingExtraError, match=r'run: pip install .*\[litert\]"$'):
        open_engine(bundle, precision="int8")


def test_what_the_bundle_does_not_have_is_said_with_what_it_has(tmp_path: Path, installed: set[str]) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("onnx"))
    with pytest.raises(BundleError, match=r"no tflite .*graph; it has onnx fp32"):
        open_engine(bundle, "litert")
    with pytest.raises(BundleError, match=r"no onnx fp16 graph; it has onnx fp32"):
        open_engine(bundle, "onnxruntime", precision="fp16")
    with pytest.raises(BundleError, match="has the graphs onnx fp32; expected one of precision fp16"):
        open_engine(bundle, precision="fp16")


def test_a_graph_of_a_target_without_an_engine_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("wasm"))
    with pytest.raises(BundleError, match="no engine runs wasm graphs"):
        open_graph(bundle, bundle.manifest.graphs[0])
    with pytest.raises(BundleError, match="has the graphs wasm fp32"):
        open_engine(bundle)


def test_a_precision_beside_an_engine_with_its_own_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="linear has its graph already"):
        Embedder.load(make_bundle(tmp_path / "b"), engine=LinearEngine(), precision="fp16")


class Recorder:
    """Gives any unit vectors and keeps what it was fed."""

    name = "recorder"

    def __init__(self) -> None:
        self.fed: list[np.ndarray] = []

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        self.fed.append(inputs[0].copy())
        return np.eye(len(inputs[0]), DIM, dtype=np.float32)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("values", ["prepared", "pixels"])
@pytest.mark.parametrize("decoded", [True, False], ids=["images", "pixels"])
def test_images_reach_the_engine_in_the_graphs_form(tmp_path: Path, layout: str, values: str, decoded: bool) -> None:
    bundle, engine = make_bundle(tmp_path / "b"), Recorder()
    embedder = Embedder(bundle, engine, graph=graph("onnx", layout=layout, values=values), threads=2)
    pixels = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    if decoded:
        embedder.embed([*pixels])
        embedder.embed(pixels[0])
    else:
        embedder.embed_pixels(pixels)
    expected = to_input(pixels, bundle.manifest.preprocessing)
    if values == "pixels":
        expected = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    if layout == "nhwc":
        expected = expected.transpose(0, 2, 3, 1)
    assert engine.fed[0].dtype == np.float32 and engine.fed[0].flags.c_contiguous
    assert np.array_equal(engine.fed[0], expected)
    assert not decoded or np.array_equal(engine.fed[1], expected[:1])


def test_an_engine_that_came_without_a_graph_is_fed_what_the_bundle_says(tmp_path: Path) -> None:
    pixels, engine = golden()[0], Recorder()
    made = tiny_bundle(tmp_path / "b", graph("onnx", values="pixels"), preprocessing=PREPARED.inside_graph())
    Embedder.load(made, engine=engine).embed_pixels(pixels)
    assert np.array_equal(engine.fed[0], pixels.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("mixed", [True, False])
def test_a_bundle_whose_preprocessing_is_wrong_for_a_graph_is_not_written(tmp_path: Path, mixed: bool) -> None:
    graphs = [graph("onnx", values="pixels"), *([graph("onnx", "fp16")] if mixed else [])]
    with pytest.raises(ConfigError, match="inside_graph"):
        tiny_bundle(tmp_path / "b", *graphs, preprocessing=PREPARED.inside_graph() if mixed else PREPARED)
    assert list(tmp_path.iterdir()) == []


def test_pixels_of_another_size_are_refused_whatever_the_graph_takes(tmp_path: Path) -> None:
    for values in ("prepared", "pixels"):
        embedder = Embedder(make_bundle(tmp_path / values), Recorder(), graph=graph("onnx", values=values))
        with pytest.raises(ImageError, match=rf"expected uint8 of shape \[n, {SIZE}, {SIZE}, 3\]"):
            embedder.embed_pixels(np.zeros((1, 5, 5, 3), np.uint8))


def test_batches_are_whole_blocks_of_a_graph_with_a_fixed_batch(tmp_path: Path) -> None:
    bundle, engine = make_bundle(tmp_path / "b"), Recorder()
    Embedder(bundle, engine, graph=graph("onnx", batch=3), batch=4).embed_pixels(np.zeros((7, SIZE, SIZE, 3), np.uint8))
    assert [len(one) for one in engine.fed] == [6, 1]


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"batch": True}, {"batch": 2.0}, {"layout": "chw"}, {"values": "raw"}])
def test_a_graph_record_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        graph("onnx", **wrong)


def test_the_new_fields_of_a_graph_survive_the_manifest_and_are_optional_in_it(tmp_path: Path) -> None:
    record = graph("tflite", batch=2, layout="nhwc", values="pixels")
    made = tiny_bundle(tmp_path / "b", record, preprocessing=PREPARED.inside_graph())
    assert Bundle.open(made.path).manifest.graphs == (record,)
    assert Graph(target="onnx", precision="fp32", file="model.onnx") == Graph(
        target="onnx", precision="fp32", file="model.onnx", batch=None, layout="nchw", values="prepared"
    )


USEARCH_FIRST = """
import sys
import usearch.index
from compat_sdk import CompatError, Embedder
try:
    Embedder.load(sys.argv[1])
except CompatError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seen on Linux alone")
def test_an_application_that_imported_usearch_first_is_told_and_not_killed(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    pytest.importorskip("onnxruntime")
    bundle = make_bundle(tmp_path / "b.bundle").path
    done = subprocess.run(
        [sys.executable, "-c", USEARCH_FIRST, str(bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.returncode
    assert done.stdout.startswith("this process imported usearch before onnxruntime")
