"""Devices of onnxruntime: computed on when asked for by name, refused when absent, tested before use.

A stand-in takes the place of onnxruntime's session, since a machine of the tests has no device beside its CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.embedder import Embedder
from compat_sdk.engines import choose_graph, open_engine, open_graph
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.transform import Transform
from tests.sdk.engines.test_choice import graph, tiny_bundle
from tests.sdk.transforms import make_transform, onnx_transform

onnxruntime = pytest.importorskip("onnxruntime")

CPU = "CPUExecutionProvider"
NAMES = {"cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}
Install = Callable[..., dict[str, Any]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes onnxruntime seem to have a device; what each session was asked for is in the dictionary."""
    real = onnxruntime.InferenceSession

    def install(device: str, *, starts: bool = True, wrong: bool = False, runs: bool = True) -> dict[str, Any]:
        asked: dict[str, Any] = {"runs": 0}

        class Session:
            def __init__(self, data: bytes, options: Any, providers: list[Any], **rest: Any) -> None:
                self._real = real(data, options, [CPU])
                asked["providers"], asked["rest"] = providers, rest

            def get_providers(self) -> list[str]:
                return [NAMES[device], CPU] if starts else [CPU]

            def run(self, outputs: list[str], feed: Any) -> list[np.ndarray]:
                asked["runs"] += 1
                if not runs:
                    raise RuntimeError("CUDA failure 719")
                found = self._real.run(outputs, feed)
                return [np.roll(found[0], 1, axis=1)] if wrong else found

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [NAMES[device], CPU])
        return asked

    return install


@pytest.mark.parametrize("device", sorted(NAMES))
def test_a_device_is_computed_on_when_asked_for_and_tested_before(
    tmp_path: Path, machine: Install, device: str
) -> None:
    bundle, asked = tiny_bundle(tmp_path / "b", graph("onnx")), machine(device)
    embedder = Embedder.load(bundle, engine=f"onnxruntime:{device}", threads=1)
    assert embedder.engine.name == f"onnxruntime:{device}"
    assert [name for name, _ in asked["providers"]] == [NAMES[device]]
    assert asked["rest"] == {"enable_fallback": 0}
    assert asked["runs"] > 0


@pytest.mark.parametrize("device", sorted(NAMES))
def test_a_device_that_computes_something_else_is_refused_before_use(
    tmp_path: Path, machine: Install, device: str
) -> None:
    images = tiny_bundle(tmp_path / "b", graph("onnx"))
    vectors = make_transform(tmp_path / "t", graph_files={"model.onnx": onnx_transform()})
    machine(device)
    assert Transform.load(vectors, engine=f"onnxruntime:{device}").engine.name == f"onnxruntime:{device}"
    machine(device, wrong=True)
    for load, made in ((Embedder.load, images), (Transform.load, vectors)):
        with pytest.raises(CheckFailedError, match=f"onnxruntime:{device} turns golden row"):
            load(made, engine=f"onnxruntime:{device}", threads=1)


@pytest.mark.parametrize("device", sorted(NAMES))
def test_a_device_that_is_not_there_or_does_not_start_is_an_error_and_never_the_cpu(
    tmp_path: Path, machine: Install, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("onnx"))
    machine(device, starts=False)
    with pytest.raises(ConfigError, match=f"its {NAMES[device]} did not start and {CPU} would compute instead"):
        open_engine(bundle, f"onnxruntime:{device}")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(ConfigError, match=f"onnxruntime:{device} was asked for, but .* has {CPU} alone; "):
        open_engine(bundle, f"onnxruntime:{device}")


def test_auto_and_the_plain_engine_stay_on_the_cpu(tmp_path: Path, machine: Install) -> None:
    bundle, asked = tiny_bundle(tmp_path / "b", graph("onnx")), machine("cuda")
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(ConfigError):  # the stand-in says that CUDA came first
            open_engine(bundle, engine)
        assert asked["providers"] == [(CPU, {})]


def test_a_device_is_named_beside_onnxruntime_alone(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", graph("onnx"))
    for wrong in ("onnxruntime:tpu", "onnxruntime:", "litert:cuda", "cuda", "onnxruntime:cpu"):
        with pytest.raises(ConfigError, match=r"expected one of auto, onnxruntime, .*onnxruntime:cuda"):
            choose_graph(bundle, wrong)
    with pytest.raises(ConfigError, match=r"engine is onnxruntime:cuda, which runs ONNX graphs, .* is tflite"):
        open_graph(bundle, graph("tflite"), engine="onnxruntime:cuda")
