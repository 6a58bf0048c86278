from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.engines import Engine, open_engine
from compat_sdk.engines.choice import OnnxRuntimeEngine
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError
from compat_sdk.images import to_input
from tests.sdk.bundles import DIM, PREPROCESSING, SIZE, LinearEngine, make_bundle, onnx_graph


def inputs(count: int) -> np.ndarray:
    pixels = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return to_input(pixels, PREPROCESSING)


def test_the_fake_engine_is_an_engine() -> None:
    engine: Engine = LinearEngine()
    assert engine.run(inputs(3)).shape == (3, DIM)


def test_an_unknown_engine_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auto, onnxruntime"):
        open_engine(make_bundle(tmp_path / "b"), "tensorflow")


def test_a_missing_onnxruntime_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install .*\[onnxruntime\]"'):
        OnnxRuntimeEngine(b"")


def test_onnxruntime_computes_what_the_graph_says(tmp_path: Path) -> None:
    engine = open_engine(make_bundle(tmp_path / "b", graph=onnx_graph()), threads=1)
    expected = LinearEngine().run(inputs(5))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = engine.run(inputs(5))
    assert engine.name == "onnxruntime"
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_size_of_a_batch_changes_rounding_at_most() -> None:
    engine = OnnxRuntimeEngine(onnx_graph(), threads=1)
    images = inputs(7)
    one_by_one = np.concatenate([engine.run(images[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(engine.run(images), one_by_one, atol=2e-6)


def test_many_threads_on_one_engine_give_the_bits_of_one_thread() -> None:
    engine = OnnxRuntimeEngine(onnx_graph(), threads=1)
    batches = [inputs(count) for count in range(1, 9)]
    serial = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for found, expected in zip(pool.map(engine.run, batches), serial, strict=True):
                assert np.array_equal(found, expected)


@pytest.mark.parametrize("graph", [b"", b"not a graph", b"\x08\x08"], ids=["empty", "text", "cut"])
def test_what_is_no_graph_is_refused(graph: bytes) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(BundleError, match="cannot load the graph"):
        OnnxRuntimeEngine(graph)


def test_weights_outside_the_graph_are_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = onnx_graph(external="weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(3 * 4 * DIM * 4))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="cannot load the graph"):
        OnnxRuntimeEngine(graph)


def test_an_input_or_output_of_another_name_is_refused_with_those_there_are() -> None:
    graph = onnx_graph(output="features")
    with pytest.raises(BundleError, match=r"features.*'embedding'"):
        OnnxRuntimeEngine(graph)
    with pytest.raises(BundleError, match=r"image.*'pixels'"):
        OnnxRuntimeEngine(graph, input="pixels", output="features")


def test_an_image_of_another_size_is_refused() -> None:
    engine = OnnxRuntimeEngine(onnx_graph(), threads=1)
    with pytest.raises(BundleError, match=r"\[1, 3, 8, 8\]"):
        engine.run(np.zeros((1, 3, 8, 8), np.float32))


def test_a_number_of_threads_below_one_is_refused() -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match="threads"):
        OnnxRuntimeEngine(b"", threads=0)
