"""Transforms and side-information encoders: from their runs to bundles that compute what PyTorch does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from compat_cli.app import main
from compat_export import Options, export, pack
from compat_export.convert.graphs import Converted
from compat_sdk.bundle import Bundle, Graph
from compat_sdk.embedder import Embedder
from compat_sdk.errors import CheckFailedError, ConfigError, TrainingError, VectorError
from compat_sdk.images import Preprocessing
from compat_sdk.transform import Transform
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun
from tests.export.transforms import KINDS, NEW, OLD, SIDE, a_transform, by_pytorch, inputs_of, unit_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TransformRun:
    return a_transform(tmp_path_factory.mktemp("runs") / "h")


@pytest.fixture(scope="module")
def exported(run: TransformRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "h.bundle"
    export(run.path, out, precisions=[Options(), Options(precision="fp16"), Options(precision="int8")])
    return out


@pytest.fixture
def converted(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's fp32 graph instead of a conversion per test."""
    record = Bundle.open(exported).graph("onnx", "fp32")
    made = Converted(record, {record.file: (exported / record.file).read_bytes()})
    monkeypatch.setattr(pack, "convert", lambda *_: made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_becomes_a_bundle_that_transforms_like_pytorch(tmp_path: Path, kind: str) -> None:
    made = a_transform(tmp_path / "run", kind)
    report = export(made.path, tmp_path / "h.zip")
    transform = Transform.load(tmp_path / "h.zip", threads=1)
    for rows in (1, 7):
        inputs = inputs_of(made, rows)
        np.testing.assert_allclose(transform.apply(*inputs), by_pytorch(made, inputs), atol=1e-5)
    assert transform.self_test().rows == 32
    manifest = transform.bundle.manifest
    assert (manifest.role, manifest.tier, manifest.arch) == ("transform", "transform", made.kind)
    assert manifest.identity == made.identity
    assert (transform.old_space, transform.side_space) == (made.spaces.old_space, made.spaces.side_space)
    assert (transform.space, transform.dim, manifest.license) == (made.spaces.space, NEW, "Apache-2.0")
    assert manifest.graphs[0].inputs == (("old", "side") if made.spaces.side_dim else ("old",))
    (graph,) = report.graphs
    assert (graph.rank_overlap, graph.accuracy_change) == (None, None)
    assert graph.latency is not None and graph.parity.max_abs_difference < 1e-5


def test_the_cost_is_that_of_one_vector(run: TransformRun, exported: Path) -> None:
    manifest = Bundle.open(exported).manifest
    layers = sum(value.numel() for name, value in run.state.items() if name.endswith("weight") and value.ndim == 2)
    assert manifest.mmacs == pytest.approx(layers / 1e6)
    norms = sum(value.numel() for name, value in run.state.items() if name.endswith("running_mean"))
    assert manifest.mmacs_paper == pytest.approx((layers + 2 * norms) / 1e6)
    assert manifest.params_m == pytest.approx(sum(p.numel() for p in run.build().parameters()) / 1e6)


@pytest.mark.parametrize(("precision", "worst"), [("fp32", 0.999999), ("fp16", 0.9999), ("int8", 0.999)])
def test_every_precision_of_one_bundle_can_be_asked_for(
    run: TransformRun, exported: Path, precision: str, worst: float
) -> None:
    transform = Transform.load(exported, precision=precision, threads=1)
    inputs = inputs_of(run, 20)
    assert np.einsum("ij,ij->i", transform.apply(*inputs), by_pytorch(run, inputs)).min() > worst
    assert transform.self_test().min_cosine > worst


def test_two_exports_of_one_run_are_equal_byte_by_byte(
    run: TransformRun, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = export(run.path, tmp_path / "a.zip").bundle
    record = again.graph("onnx", "fp32")
    graph = again.read(record.file)
    assert graph == (exported / record.file).read_bytes()
    monkeypatch.setattr(pack, "convert", lambda *_: Converted(record, {record.file: graph}))
    assert export(run.path, tmp_path / "b.zip").bundle.path.read_bytes() == again.path.read_bytes()


@pytest.mark.usefixtures("converted")
def test_golden_vectors_may_be_the_callers_own(run: TransformRun, tmp_path: Path) -> None:
    old, side = unit_rows(40, OLD, 8), unit_rows(40, SIDE, 9)
    bundle = export(run.path, tmp_path / "b", golden=(old, side)).bundle
    inputs, vectors = bundle.golden_vectors()
    np.testing.assert_array_equal(inputs[0], old[:32])
    np.testing.assert_array_equal(inputs[1], side[:32])
    np.testing.assert_allclose(vectors, by_pytorch(run, [old[:32], side[:32]]), atol=1e-6)


def test_golden_vectors_that_do_not_fit_are_refused(run: TransformRun, tmp_path: Path) -> None:
    old, side = unit_rows(4, OLD), unit_rows(4, SIDE)
    for vectors in ((old, None), (old, side[:3]), (side, side), (old[0], side[0])):
        with pytest.raises(ConfigError, match=r"this transform takes old \[n, 16\], side \[n, 8\]"):
            export(run.path, tmp_path / "b", golden=vectors)
    with pytest.raises(ConfigError, match="no golden vectors"):
        export(run.path, tmp_path / "b", golden=(old[:0], side[:0]))
    with pytest.raises(VectorError, match="unit length"):
        export(run.path, tmp_path / "b", golden=(2 * old, side))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", [0.5, float("nan")])
def test_a_perturbed_weight_is_caught_and_nothing_is_left_on_disk(
    run: TransformRun, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    record = Bundle.open(exported).graph("onnx", "fp32")
    model = onnx.load_from_string((exported / record.file).read_bytes())
    (weights,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith("head.weight")]
    values = onnx.numpy_helper.to_array(weights).copy()
    values[0] += by
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    made = Converted(record, {record.file: model.SerializeToString()})
    monkeypatch.setattr(pack, "convert", lambda *_: made)
    with pytest.raises(CheckFailedError, match="the onnx fp32 graph of h disagrees with PyTorch"):
        export(run.path, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_only_images_have_is_refused(run: TransformRun, checkpoint: Checkpoint, tmp_path: Path) -> None:
    calibration = np.zeros((1, OLD), np.float32)
    for options, message in (
        (Options(layout="nhwc"), "layout nhwc is about images"),
        (Options(pixels=Preprocessing(size=32)), "pixels is about images"),
        (Options(precision="int8-static", calibration=calibration), "not made for a transform; choose int8"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(run, tmp_path / "b", precisions=[options])
    with pytest.raises(ConfigError, match="leave images and probe out"):
        export(run.path, tmp_path / "b", golden=np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match="leave vectors out"):
        export(checkpoint.path, tmp_path / "b", golden=(unit_rows(1, OLD), None))
    assert list(tmp_path.iterdir()) == []


def test_a_side_information_encoder_is_exported_like_a_gallery_model(
    checkpoint: Checkpoint, graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Converted(Graph("onnx", "fp32", "onnx-fp32/model.onnx"), {"onnx-fp32/model.onnx": graph})
    monkeypatch.setattr(pack, "convert", lambda *_: made)
    folder = tmp_path / "side"
    folder.mkdir()
    encoder = replace(checkpoint, path=folder, role="side-info", method="simclr", searches=())
    encoder.save()
    report = export(folder, tmp_path / "s")
    assert (report.bundle.manifest.role, report.bundle.manifest.tier) == ("side-info", "side-info")
    assert report.graphs[0].rank_overlap == 1.0
    assert Embedder.load(report.bundle, threads=1).self_test().rows == 8

    with pytest.raises(ConfigError, match="side-info model searches"):
        export(replace(encoder, searches=("other-16",)), tmp_path / "t")


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(leaving.value.code or 0), said.out, said.err


@pytest.mark.usefixtures("converted")
def test_the_command_exports_a_transform_and_leaves_out_what_it_does_not_have(
    run: TransformRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = command(capsys, "export", run.path, "--out", tmp_path / "h.bundle")
    assert code == 0, err
    assert "worst cosine" in out and "overlap" not in out
    assert "old-16-aaaaaaaaaaaa and side-8-bbbbbbbbbbbb -> space new-24-cccccccccccc" in out
    assert Transform.load(tmp_path / "h.bundle", threads=1).self_test().min_cosine > 0.99999
    out = command(capsys, "export", run.path, "--out", tmp_path / "h.bundle", "--overwrite", "--json")[1]
    (graph,) = json.loads(out)["graphs"]
    assert graph["rank_overlap"] is None and graph["accuracy_change"] is None


@pytest.mark.parametrize(
    "option",
    [("--layout", "nhwc"), ("--pixels",), ("--data", "sample"), ("--queries", 1000), ("--calibration", 128),
     ("--root", "."), ("--data", "sample", "--gallery", "g")],
    ids=lambda option: option[0],
)  # fmt: skip
def test_the_command_refuses_options_that_are_about_images(
    run: TransformRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[object, ...]
) -> None:
    code, _, err = command(capsys, "export", run.path, "--out", tmp_path / "b", *option)
    assert code == 2 and f"{option[0]}" in err and "is about images; leave it out" in err
    assert list(tmp_path.iterdir()) == []


def test_commands_that_want_an_image_model_say_that_a_run_is_a_transform(
    run: TransformRun, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = command(capsys, "profile", run.path)
    assert code == 1 and "is a transform of embeddings" in err
    with pytest.raises(TrainingError, match="is a transform of embeddings"):
        Checkpoint.load(run.path)
