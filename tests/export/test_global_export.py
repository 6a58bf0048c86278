"""Networks of the global search export like any other: every operation and kernel, and the residual kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compat_export import TARGETS, Options, export
from compat_export.profile_model import profile_architecture, untrained_checkpoint
from compat_sdk.bundle import Bundle
from compat_sdk.embedder import Embedder
from compat_train.models.global_cost import mmacs
from compat_train.models.global_names import global_named
from tests.export.coreml_nets import settled

NEEDS = {"onnx": "onnxruntime", "coreml": "coremltools", "tflite": "litert_torch", "executorch": "executorch"}
PLAIN, RESIDUAL = "global:plain:8:s3c5s5c3", "global:residual,stages=2:8:s3c3c5s5"


@pytest.mark.parametrize("arch", [PLAIN, RESIDUAL])
@pytest.mark.parametrize(
    "target", [pytest.param(target, marks=() if target == "onnx" else pytest.mark.slow) for target in TARGETS]
)
def test_a_network_of_the_global_search_exports_in_full_and_half_precision(
    target: str, arch: str, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS[target])
    fresh = untrained_checkpoint(arch, size=28, dim=16)
    found = replace(fresh, state=settled(fresh.build()).state_dict(), space="global-16-0123456789ab")
    report = export(found, tmp_path / "b", targets=[target], precisions=[Options(), Options(precision="fp16")])
    full, half = report.graphs
    assert full.parity.max_abs_difference < 1e-5 and half.parity.worst_cosine > 0.9999
    manifest = Bundle.open(tmp_path / "b").manifest
    assert manifest.arch == arch
    assert manifest.mmacs == pytest.approx(mmacs(global_named(arch), 28, 16), abs=1e-6)
    if target != "coreml":
        assert Embedder.load(tmp_path / "b", threads=1).self_test().min_cosine > 0.9999


@pytest.mark.parametrize("arch", [PLAIN, "cmp:shuffle,stem=4,channels=8-16-24-32,repeats=1-1-1-1,last=32:0123:4444"])
def test_the_name_of_a_searched_network_can_be_profiled(arch: str) -> None:
    profile = profile_architecture(arch, size=28, dim=16, runs=2)
    assert profile.to_json()["name"] == arch
