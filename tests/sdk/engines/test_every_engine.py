"""One suite for every engine that is installed; the others are skipped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from compat_sdk.engines import Engine
from compat_sdk.engines.choice import ExecuTorchEngine, LiteRTEngine, OnnxRuntimeEngine
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError
from tests.sdk.engines.tiny import DIM, GRAPHS, embed, images, wave

SUFFIXES = {"onnxruntime": "onnx", "litert": "tflite", "executorch": "pte"}
PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert", "executorch": "executorch"}
CLASSES: dict[str, Callable[..., Engine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "litert": LiteRTEngine,
    "executorch": ExecuTorchEngine,
}
Open = Callable[..., Engine]


def graph(name: str, file: str = "tiny") -> bytes:
    return (GRAPHS / f"{file}.{SUFFIXES[name]}").read_bytes()


@pytest.fixture(params=sorted(CLASSES))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if find_spec(PACKAGES[found]) is None:
        pytest.skip(f"{found} is not installed")
    return found


@pytest.fixture
def open_tiny(name: str) -> Iterator[Open]:
    """Opens one of the committed graphs, or given bytes, with one thread."""

    def open_one(file: str = "tiny", *, content: bytes | None = None, **settings: Any) -> Engine:
        if name == "executorch":
            settings.pop("input", None)  # has no names
        return CLASSES[name](graph(name, file) if content is None else content, **({"threads": 1} | settings))

    yield open_one


@pytest.mark.parametrize("file", ["tiny", "tiny-4"])
@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_every_engine_gives_the_vectors_of_the_network(open_tiny: Open, name: str, file: str, count: int) -> None:
    engine = open_tiny(file, batch=4 if file == "tiny-4" else None)
    found = engine.run(images(5)[:count])
    assert engine.name == name
    assert found.dtype == np.float32 and found.shape == (count, DIM)
    np.testing.assert_allclose(found, embed(images(5))[:count], atol=1e-5)
    np.testing.assert_allclose(found, np.load(GRAPHS / "expected.npy")[:count], atol=1e-5)


def test_more_images_than_the_graph_was_planned_for_are_fed_in_blocks(open_tiny: Open) -> None:
    np.testing.assert_allclose(open_tiny().run(images(35)), embed(images(35)), atol=1e-5)


def test_a_fixed_batch_leaves_no_trace_of_the_padding(open_tiny: Open) -> None:
    engine = open_tiny("tiny-4", batch=4)
    found = engine.run(images(5))
    assert found.shape == (5, DIM)
    assert np.array_equal(found[:4], engine.run(images(4)))


def test_several_inputs_go_to_the_ports_that_were_named(open_tiny: Open) -> None:
    engine = open_tiny("pair", input=("vector", "other"))
    vector, other = wave(3, DIM, step=0.3), wave(3, DIM, step=0.8)
    expected = vector + 2 * other
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(engine.run(vector, other), expected, atol=1e-5)
    for wrong in [(vector,), (vector, other, other), (vector, other[:2]), ()]:
        with pytest.raises(BundleError, match="the same n"):
            engine.run(*wrong)


def test_the_order_of_named_inputs_is_the_callers(open_tiny: Open, name: str) -> None:
    if name == "executorch":
        pytest.skip("a program's inputs have no names")
    vector, other = wave(3, DIM, step=0.3), wave(3, DIM, step=0.8)
    straight = open_tiny("pair", input=("vector", "other")).run(vector, other)
    assert np.array_equal(open_tiny("pair", input=("other", "vector")).run(other, vector), straight)


def test_eight_threads_on_one_engine_give_the_bits_of_one(open_tiny: Open) -> None:
    for file, batch in (("tiny", None), ("tiny-4", 4)):
        engine = open_tiny(file, batch=batch)
        batches = [images(40)[start : start + 1 + start % 5] for start in range(24)]
        serial = [engine.run(one) for one in batches]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                for found, expected in zip(pool.map(engine.run, batches), serial, strict=True):
                    assert np.array_equal(found, expected)


def test_what_an_engine_returned_does_not_change_with_its_next_run(open_tiny: Open) -> None:
    engine = open_tiny()
    first = engine.run(images(2))
    kept = first.copy()
    engine.run(-images(2))
    assert np.array_equal(first, kept)


def test_slices_and_arrays_that_may_not_be_written_are_taken(open_tiny: Open) -> None:
    engine, many = open_tiny(), images(6)
    many.flags.writeable = False
    np.testing.assert_allclose(engine.run(many[::2]), embed(many[::2]), atol=1e-5)
    np.testing.assert_allclose(engine.run(many[:, ::-1]), embed(many[:, ::-1]), atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 3, 9, 9), np.float32),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 192), np.float32),
        np.zeros((0, 3, 8, 8), np.float32),
        np.zeros((1, 3, 8, 8), np.float64),
        np.zeros((), np.float32),
    ],
    ids=["larger", "channels last", "flat", "no images", "float64", "a number"],
)
def test_an_input_that_does_not_fit_is_refused_with_what_would(open_tiny: Open, wrong: np.ndarray) -> None:
    engine = open_tiny()
    with pytest.raises(BundleError, match=r"float32 \[n, 3, 8, 8\]"):
        engine.run(wrong)
    np.testing.assert_allclose(engine.run(images(1)), embed(images(1)), atol=1e-5)


@pytest.mark.parametrize("garbage", [b"", b"\0" * 4096, b"not a graph at all", b"PK\x03\x04" + bytes(60)])
def test_garbage_is_refused_by_its_first_bytes(open_tiny: Open, name: str, garbage: bytes) -> None:
    with pytest.raises(BundleError, match=f"{name} cannot load the graph: (it starts|bytes 4)"):
        open_tiny(content=garbage)


@pytest.mark.parametrize("other", sorted(SUFFIXES))
def test_a_graph_of_another_engine_is_refused_by_its_first_bytes(open_tiny: Open, name: str, other: str) -> None:
    if other != name:
        with pytest.raises(BundleError, match="cannot load the graph"):
            open_tiny(content=graph(other))


def test_a_file_cut_short_is_an_error_and_never_the_end_of_the_process(open_tiny: Open, name: str) -> None:
    whole = graph(name)
    for size in sorted({0, 8, 11, 39, len(whole) - 1, *range(12, len(whole), len(whole) // 40)}):
        with pytest.raises(BundleError):
            open_tiny(content=whole[:size]).run(images(1))


def test_a_batch_that_the_graph_does_not_take_is_refused(open_tiny: Open) -> None:
    with pytest.raises(BundleError, match="batch is 5"):
        open_tiny("tiny-4", batch=5)


def test_a_name_that_the_graph_does_not_have_is_refused(open_tiny: Open, name: str) -> None:
    if name == "executorch":
        pytest.skip("a program's inputs have no names")
    with pytest.raises(BundleError, match=r"image.*pixels"):
        open_tiny(input="pixels")
    with pytest.raises(BundleError, match=r"embedding.*features"):
        open_tiny(output="features")
    with pytest.raises(BundleError, match=r"further inputs \['other'\]"):
        open_tiny("pair", input="vector")


def test_a_number_of_threads_is_at_least_one(open_tiny: Open) -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        open_tiny(threads=0)
    assert open_tiny(threads=2).run(images(1)).shape == (1, DIM)
    assert open_tiny(threads=None).run(images(1)).shape == (1, DIM)


@pytest.mark.parametrize("missing", sorted(CLASSES))
def test_an_engine_that_is_not_installed_names_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"litert": "ai_edge_litert.interpreter", "executorch": "executorch.runtime"}.get(missing, missing)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'pip install .*\[{missing}\]"'):
        CLASSES[missing](graph(missing))


def test_executorchs_one_pool_of_threads_is_not_resized_under_an_engine_in_use() -> None:
    pytest.importorskip("executorch")
    first = ExecuTorchEngine(graph("executorch"), threads=1)
    with pytest.raises(ConfigError, match="executorch runs with 1"):
        ExecuTorchEngine(graph("executorch"), threads=2)
    before = first.run(images(1))
    del first
    np.testing.assert_allclose(ExecuTorchEngine(graph("executorch"), threads=2).run(images(1)), before, atol=1e-6)
