"""One run exported for every target at once, and each graph used by the runtime that will run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_export import TARGETS, Options, export
from compat_export.profile_model import untrained_checkpoint
from compat_sdk.embedder import Embedder
from compat_sdk.errors import ConfigError
from compat_sdk.transform import Transform
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun
from tests.export.coreml_nets import settled
from tests.export.embedders import FEW_LAYERS
from tests.export.transforms import KINDS, a_transform, by_pytorch, inputs_of

pytestmark = pytest.mark.usefixtures("coremltools", "litert", "executorch")


@pytest.fixture(scope="module", params=[FEW_LAYERS, pytest.param("resnet18", marks=pytest.mark.slow)])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("all") / "all.zip"
    # Activations of ordinary size: those of the planted weights are infinite in float16.
    width = 1.0 if request.param == FEW_LAYERS else 0.125
    fresh = untrained_checkpoint(request.param, size=28, dim=16, width=width)
    ordinary = replace(fresh, state=settled(fresh.build()).state_dict())
    options = [Options(), Options(precision="fp16")]
    report = export(ordinary, out, targets=TARGETS, precisions=options)
    assert [(graph.target, graph.precision) for graph in report.graphs] == [
        (target, precision) for target in TARGETS for precision in ("fp32", "fp16")
    ]
    for graph in report.graphs:
        if graph.precision == "fp32":
            assert graph.parity.max_abs_difference < 1e-5
        assert graph.parity.worst_cosine > 0.9999
        # Which of a fresh network's neighbours come first is decided below what half precision tells apart.
        assert graph.precision == "fp16" or graph.rank_overlap > 0.9
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


@pytest.mark.parametrize("target", ["onnx", "coreml", "executorch"])
def test_preprocessing_inside_the_graph_gives_the_same_vectors(
    checkpoint: Checkpoint, target: str, tmp_path: Path
) -> None:
    options = [Options(pixels=checkpoint.preprocessing)]
    report = export(checkpoint.path, tmp_path / "b", targets=[target], precisions=options)
    assert report.bundle.manifest.graphs[0].values == "pixels"
    assert report.graphs[0].parity.max_abs_difference < 1e-5
    if target != "coreml":
        found = Embedder.load(tmp_path / "b", threads=1).embed_pixels(report.bundle.golden()[0]).vectors
        np.testing.assert_allclose(found, report.bundle.golden()[1], atol=1e-5)


def test_a_phone_can_take_its_pixels_channels_last(checkpoint: Checkpoint, tmp_path: Path) -> None:
    options = [Options(layout="nhwc", batch=2, pixels=checkpoint.preprocessing)]
    report = export(checkpoint.path, tmp_path / "b", targets=["tflite"], precisions=options)
    graph = report.bundle.manifest.graphs[0]
    assert (graph.layout, graph.batch, graph.values) == ("nhwc", 2, "pixels")
    assert report.graphs[0].parity.max_abs_difference < 1e-5
    embedder = Embedder.load(tmp_path / "b", threads=1)
    images, vectors = report.bundle.golden()
    np.testing.assert_allclose(embedder.embed_pixels(images).vectors, vectors, atol=1e-5)
    assert embedder.self_test().min_cosine > 0.99999


@pytest.fixture(scope="module", params=[KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def transform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TransformRun, Path]:
    """A transform's run, and its bundle with a graph of every target and precision."""
    folder = tmp_path_factory.mktemp("transform")
    run, out = a_transform(folder / "run", request.param), folder / "h.zip"
    report = export(run, out, targets=TARGETS, precisions=[Options(), Options(precision="fp16")])
    for graph in report.graphs:
        assert graph.rank_overlap is None
        assert graph.parity.worst_cosine > (0.999999 if graph.precision == "fp32" else 0.9999)
        assert graph.precision == "fp16" or graph.parity.max_abs_difference < 1e-5
    return run, out


@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "executorch"])
def test_every_engine_transforms_vectors_like_pytorch(transform: tuple[TransformRun, Path], engine: str) -> None:
    run, out = transform
    inputs = inputs_of(run, 7)
    exact = Transform.load(out, engine=engine, threads=1)
    assert exact.engine.name == engine
    np.testing.assert_allclose(exact.apply(*inputs), by_pytorch(run, inputs), atol=1e-5)
    half = Transform.load(out, engine=engine, precision="fp16", threads=1)
    assert half.self_test().min_cosine > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "tflite", "coreml"])
def test_weights_of_a_transform_can_be_compressed_to_bytes(target: str, tmp_path: Path) -> None:
    run = a_transform(tmp_path / "run")
    small = export(run, tmp_path / "b", targets=[target], precisions=[Options(precision="int8")])
    assert small.graphs[0].parity.worst_cosine > 0.999


def test_a_transform_takes_a_fixed_batch_and_its_bytes_repeat(tmp_path: Path) -> None:
    run = a_transform(tmp_path / "run")
    a, b = (
        export(run, tmp_path / name, targets=["tflite", "executorch"], precisions=[Options(batch=4)]).bundle
        for name in ("a.zip", "b.zip")
    )
    assert a.path.read_bytes() == b.path.read_bytes()
    assert {graph.batch for graph in a.manifest.graphs} == {4}
    inputs = inputs_of(run, 7)
    for engine in ("litert", "executorch"):
        found = Transform.load(a, engine=engine, threads=1).apply(*inputs)
        np.testing.assert_allclose(found, by_pytorch(run, inputs), atol=1e-5)
