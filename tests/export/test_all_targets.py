"""One run exported for every target at once, and each graph used by the runtime that will run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_export.conversion import Options
from compat_export.graphs import TARGETS
from compat_export.pack import export_checkpoint, export_run
from compat_export.profile_model import untrained_checkpoint
from compat_sdk.embedder import Embedder
from compat_sdk.errors import ConfigError
from compat_train.checkpoint import Checkpoint
from tests.export.coreml_nets import settled

for package in ("coremltools", "litert_torch", "ai_edge_quantizer", "executorch"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("all") / "all.zip"
    # Activations of ordinary size: those of the planted weights are infinite in float16.
    fresh = untrained_checkpoint("resnet18", size=28, dim=16, width=0.125)
    ordinary = replace(fresh, state=settled(fresh.build()).state_dict())
    options = [Options(), Options(precision="fp16")]
    report = export_checkpoint(ordinary, out=out, targets=TARGETS, options=options)
    assert [(graph.target, graph.precision) for graph in report.graphs] == [
        (target, precision) for target in TARGETS for precision in ("fp32", "fp16")
    ]
    for graph in report.graphs:
        if graph.precision == "fp32":
            assert graph.parity.max_abs_difference < 1e-5
        assert graph.parity.worst_cosine > 0.9999
        assert graph.rank_overlap > 0.9
    return out


@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "executorch"])
def test_every_engine_that_runs_here_passes_the_bundles_self_test(bundle: Path, engine: str) -> None:
    for precision in ("fp32", "fp16"):
        embedder = Embedder.load(bundle, engine=engine, precision=precision, threads=1)
        assert embedder.engine.name == engine
        assert embedder.self_test().min_cosine > 0.9999


def test_core_ml_is_refused_where_it_does_not_run_and_says_what_does(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="onnxruntime, litert, executorch can run this bundle here"):
        Embedder.load(bundle, engine="coreml")


@pytest.mark.parametrize("target", ["onnx", "tflite", "coreml", "executorch"])
def test_preprocessing_inside_the_graph_gives_the_same_vectors(
    checkpoint: Checkpoint, target: str, tmp_path: Path
) -> None:
    options = [Options(pixels=checkpoint.preprocessing)]
    report = export_run(checkpoint.path, out=tmp_path / "b", targets=[target], options=options)
    assert report.bundle.manifest.graphs[0].values == "pixels"
    assert report.graphs[0].parity.max_abs_difference < 1e-5
    if target != "coreml":
        found = Embedder.load(tmp_path / "b", threads=1).embed_pixels(report.bundle.golden()[0]).vectors
        np.testing.assert_allclose(found, report.bundle.golden()[1], atol=1e-5)


def test_a_phone_can_take_its_images_channels_last(checkpoint: Checkpoint, tmp_path: Path) -> None:
    options = [Options(layout="nhwc", batch=2)]
    report = export_run(checkpoint.path, out=tmp_path / "b", targets=["tflite"], options=options)
    graph = report.bundle.manifest.graphs[0]
    assert (graph.layout, graph.batch) == ("nhwc", 2)
    assert Embedder.load(tmp_path / "b", threads=1).self_test().min_cosine > 0.99999
