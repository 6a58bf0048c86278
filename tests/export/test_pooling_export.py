"""A network with generalised-mean pooling and searches of its own exports like any other, for every target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compat_export import TARGETS, Options, export
from compat_export.profile_model import untrained_checkpoint
from compat_sdk.embedder import Embedder
from compat_train.runs.checkpoint import Checkpoint
from tests.export.coreml_nets import settled

NEEDS = {"onnx": "onnxruntime", "coreml": "coremltools", "tflite": "litert_torch", "executorch": "executorch"}


@pytest.fixture(scope="module")
def upgraded() -> Checkpoint:
    """A new gallery model that pools by the generalised mean and may search its predecessor's space."""
    fresh = untrained_checkpoint("resnet18_gem", size=28, dim=16, width=0.125)
    state = settled(fresh.build()).state_dict()
    return replace(fresh, role="gallery", state=state, searches=("resnet18-16-0123456789ab",))


@pytest.mark.parametrize(
    "target", [pytest.param(target, marks=() if target == "onnx" else pytest.mark.slow) for target in TARGETS]
)
def test_generalised_mean_pooling_exports_in_full_and_half_precision(
    target: str, upgraded: Checkpoint, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS[target])
    options = [Options(), Options(precision="fp16")]
    report = export(upgraded, tmp_path / "b", targets=[target], precisions=options)
    full, half = report.graphs
    assert full.parity.max_abs_difference < 1e-5 and half.parity.worst_cosine > 0.9999
    manifest = report.bundle.manifest
    assert (manifest.role, manifest.tier, manifest.searches) == ("gallery", "gallery", upgraded.searches)
    if target != "coreml":
        assert Embedder.load(tmp_path / "b", threads=1).self_test().min_cosine > 0.9999
