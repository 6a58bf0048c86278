from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from compat_export import Options, Probe, data_probe, export, golden_images, pack
from compat_export.convert import to_onnx
from compat_export.convert.conversion import Port
from compat_export.convert.graphs import Converted
from compat_export.convert.unit import UnitEmbedder
from compat_export.profile_model import untrained_checkpoint
from compat_export.subject import choose_tier, subject_of
from compat_sdk.bundle import Bundle, Graph
from compat_sdk.bundle.self_test import MIN_COSINE
from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.embedder import Embedder
from compat_sdk.errors import CheckFailedError, ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_train.data.training_set import split_rows
from compat_train.models.cost import Cost
from compat_train.runs.certificates import write_certificate
from compat_train.runs.checkpoint import Checkpoint
from tests.export.coreml_nets import settled
from tests.sdk.certificates import certificate

FILE = "onnx-fp32/model.onnx"


def gives(monkeypatch: pytest.MonkeyPatch, graph: bytes) -> None:
    """A conversion that gives this graph, whatever it is asked for."""
    made = Converted(Graph("onnx", "fp32", FILE), {FILE: graph})
    monkeypatch.setattr(pack, "convert", lambda *_: made)


@pytest.fixture
def converted(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's graph instead of a conversion per test."""
    gives(monkeypatch, graph)


def perturbed(graph: bytes, *, by: float) -> bytes:
    """The graph with one number of its last weight moved."""
    model = onnx.load_from_string(graph)
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) >= 2]
    values = onnx.numpy_helper.to_array(weights[-1]).copy()
    values.flat[3] += by
    weights[-1].CopyFrom(onnx.numpy_helper.from_array(values, weights[-1].name))
    return model.SerializeToString()


def test_what_is_traced_writes_over_none_of_its_inputs_and_computes_the_same(checkpoint: Checkpoint) -> None:
    trained, traced = UnitEmbedder(checkpoint.build()).eval(), subject_of(checkpoint).module
    assert any(getattr(layer, "inplace", False) for layer in trained.modules())
    assert not any(getattr(layer, "inplace", False) for layer in traced.modules())
    images = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(traced(images), trained(images))


@pytest.mark.usefixtures("converted")
def test_a_run_becomes_a_bundle_that_embeds_like_pytorch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    report = export(checkpoint.path, tmp_path / "tiny.bundle")
    bundle = Bundle.open(tmp_path / "tiny.bundle")
    manifest = bundle.manifest
    assert (manifest.space, manifest.dim, manifest.arch) == (checkpoint.space, 16, checkpoint.arch)
    assert (manifest.role, manifest.tier, manifest.license) == ("query", "100", "Apache-2.0")
    assert 0 < manifest.mmacs < manifest.mmacs_paper
    assert [(g.target, g.precision) for g in manifest.graphs] == [("onnx", "fp32")]
    (found,) = report.graphs
    assert found.parity.rows == 18
    assert found.parity.max_abs_difference < 1e-5
    assert found.bytes == manifest.files[FILE].bytes
    assert found.rank_overlap == 1.0 and found.accuracy_change is None
    assert found.latency is not None and 0 < found.latency.p50_ms <= found.latency.p95_ms
    assert report.to_json()["graphs"] == [found.to_json()]
    test = Embedder.load(bundle, threads=1).self_test()
    assert test.rows == 8
    assert test.min_cosine > 0.99999


@pytest.mark.usefixtures("converted")
def test_two_exports_of_one_run_have_the_same_files(checkpoint: Checkpoint, tmp_path: Path) -> None:
    a = export(checkpoint.path, tmp_path / "a")
    b = export(checkpoint.path, tmp_path / "b")
    assert a.bundle.manifest.files == b.bundle.manifest.files


@pytest.mark.parametrize("by", [0.05, -1.0, float("nan")])
def test_a_perturbed_weight_is_caught_and_nothing_is_left_on_disk(
    checkpoint: Checkpoint, graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    gives(monkeypatch, perturbed(graph, by=by))
    with pytest.raises(CheckFailedError, match="disagrees with PyTorch") as caught:
        export(checkpoint.path, tmp_path / "bundle")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_bundle_as_it_was(
    checkpoint: Checkpoint, graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gives(monkeypatch, graph)
    export(checkpoint.path, tmp_path / "bundle")
    gives(monkeypatch, perturbed(graph, by=1.0))
    with pytest.raises(CheckFailedError):
        export(checkpoint.path, tmp_path / "bundle", overwrite=True)
    assert Bundle.open(tmp_path / "bundle").read(FILE) == graph
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_existing_bundle_is_refused_before_the_conversion(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "convert", lambda *_: pytest.fail("converted"))
    with pytest.raises(ConfigError, match="exists"):
        export(checkpoint, tmp_path)
    with pytest.raises(ConfigError, match="is not a bundle"):
        export(checkpoint, tmp_path, overwrite=True)


@pytest.mark.usefixtures("converted")
def test_prepared_images_of_the_callers_own_come_after_the_pictures_up_to_eight(
    checkpoint: Checkpoint, tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    report = export(checkpoint, tmp_path / "b", golden=np.concatenate([pixels, pixels]))
    images, embeddings = report.bundle.golden()
    assert len(report.bundle.golden_pictures()) == 8 and np.array_equal(images[8:], pixels)
    test = Embedder.load(report.bundle, threads=1).self_test()
    assert (test.rows, test.pictures, test.bound) == (16, 8, MIN_COSINE["fp32"])
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 28, 28, 3), (2, 32, 32, 3), (28, 28, 3)])
def test_golden_images_of_another_shape_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match=r"\[n, 28, 28, 3\]"):
        export(checkpoint, tmp_path / "b", golden=np.zeros(shape, np.uint8))


def test_default_golden_images_are_real_different_and_always_the_same() -> None:
    preprocessing = Preprocessing(size=32)
    images = golden_images(preprocessing)
    assert images.shape == (8, 32, 32, 3)
    assert len({image.tobytes() for image in images}) == 8
    assert np.array_equal(images, golden_images(preprocessing))


def test_unknown_missing_or_repeated_targets_and_precisions_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'tensorrt'; expected some of onnx, tflite, coreml, executorch"):
        export(checkpoint.path, tmp_path / "b", targets=["onnx", "tensorrt"])
    with pytest.raises(ConfigError, match="int4 is not made for onnx"):
        export(checkpoint.path, tmp_path / "b", precisions=[Options(precision="int4")])
    for targets, options in (([], [Options()]), (["onnx"], []), (["onnx", "onnx"], [Options()])):
        with pytest.raises(ConfigError, match="at least one of each, each once"):
            export(checkpoint.path, tmp_path / "b", targets=targets, precisions=options)
    assert list(tmp_path.iterdir()) == []


def test_one_name_where_a_list_is_expected_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for wrong in ({"targets": "onnx"}, {"precisions": "fp32"}, {"precisions": Options()}):
        with pytest.raises(ConfigError, match="expected a list of each"):
            export(checkpoint.path, tmp_path / "b", **wrong)  # type: ignore[arg-type]


def test_graphs_of_one_bundle_take_pixels_of_the_models_own_preprocessing_or_none_does(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "convert", lambda *_: pytest.fail("converted"))
    own = checkpoint.preprocessing
    with pytest.raises(ConfigError, match="expected one kind"):
        export(checkpoint, tmp_path / "b", precisions=["fp32", Options("fp16", pixels=own)])
    with pytest.raises(ConfigError, match="expected the model's own preprocessing"):
        export(checkpoint, tmp_path / "b", precisions=[Options(pixels=replace(own, channels="bgr"))])


def test_two_precisions_share_a_bundle_and_the_runtime_takes_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports, exported = list[Options](), to_onnx._exported

    def counted(module: nn.Module, ports: Sequence[Port], options: Options) -> bytes:
        exports.append(options)
        return exported(module, ports, options)

    monkeypatch.setattr(to_onnx, "_exported", counted)
    few = untrained_checkpoint("global:plain:32:c3c3c3", size=28, dim=16)
    few = replace(few, state=settled(few.build()).state_dict())
    report = export(few, tmp_path / "both.zip", precisions=["fp32", "fp16"])
    assert [graph.precision for graph in report.graphs] == ["fp32", "fp16"]
    assert report.graphs[1].bytes < 0.6 * report.graphs[0].bytes
    assert report.graphs[1].parity.worst_cosine > 0.9999
    for precision in ("fp32", "fp16"):
        test = Embedder.load(tmp_path / "both.zip", precision=precision, threads=1).self_test()
        assert test.min_cosine > 0.9999
    assert len(exports) == 1, "PyTorch's part is one for both"
    again = export(few, tmp_path / "again.zip", precisions=["fp32", Options("fp16")])
    assert again.bundle.path.read_bytes() == report.bundle.path.read_bytes()


@pytest.mark.usefixtures("converted")
def test_the_bound_on_the_cosine_can_be_set(checkpoint: Checkpoint, graph: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match=r"at least 1\.1"):
        export(checkpoint.path, tmp_path / "b", min_cosine=1.1)


def test_a_probe_compares_neighbours_and_accuracy() -> None:
    generator = np.random.default_rng(0)
    gallery = generator.normal(size=(40, 8)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    reference = gallery[:3]
    labels = (["0", "1", "2"], [str(row) for row in range(40)])
    probe = Probe(np.zeros((3, 1, 1, 3), np.uint8), reference, gallery, labels)
    assert probe.overlap(reference) == 1.0 and probe.accuracy(reference) == 1.0
    wrong = np.roll(reference, 1, axis=0)
    assert probe.accuracy(wrong) == 0.0
    nearest = [set(np.argsort(-(rows @ gallery.T), 1)[:, :10].ravel().tolist()) for rows in (reference[:1], wrong[:1])]
    one = Probe(np.zeros((1, 1, 1, 3), np.uint8), reference[:1], gallery, None)
    assert (
        one.overlap(wrong[:1]) == pytest.approx(len(nearest[0] & nearest[1]) / 10) and one.accuracy(wrong[:1]) is None
    )


def test_neighbours_that_tie_may_change_places() -> None:
    gallery = np.tile(np.float32([[1, 0]]), (30, 1))
    probe = Probe(np.zeros((1, 1, 1, 3), np.uint8), np.float32([[1, 0]]), gallery, None)
    assert probe.overlap(np.float32([[0.999, 0.04]])) == 1.0


def test_a_data_probe_searches_the_gallery_models_gallery(checkpoint: Checkpoint, tmp_path: Path) -> None:
    probe = data_probe(open_dataset("sample"), checkpoint, checkpoint.path, most=20)
    assert len(probe.queries) == 20 and probe.labels is not None
    assert len(probe.gallery) == len(probe.labels[1])
    assert probe.overlap(probe.reference) == 1.0
    assert probe.accuracy(probe.reference) is not None


def test_a_data_probe_asks_for_no_picture_that_the_gallery_has(checkpoint: Checkpoint) -> None:
    sample = open_dataset("sample")
    gallery, query = (split_rows(sample.split(name), np.arange(12)) for name in ("gallery", "query"))
    mixed = np.concatenate([gallery.images[:4], query.images[4:]])
    few = Dataset("few", {"query": replace(query, images=mixed), "gallery": gallery})
    assert len(data_probe(few, checkpoint, checkpoint.path, most=20).queries) == 8
    same = Dataset("same", {"query": replace(query, images=gallery.images), "gallery": gallery})
    with pytest.raises(DataError, match="would find itself"):
        data_probe(same, checkpoint, checkpoint.path, most=20)


@pytest.mark.usefixtures("converted")
def test_tier_license_role_and_searched_spaces_reach_the_manifest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    gallery = replace(checkpoint, role="gallery", searches=())
    assert export(gallery, tmp_path / "g").bundle.manifest.tier == "gallery"
    query = replace(checkpoint, searches=("resnet50-16-ffffffffffff",))
    found = export(query, tmp_path / "q", tier="330", license="MIT").bundle.manifest
    assert (found.searches, found.tier, found.license) == (("resnet50-16-ffffffffffff",), "330", "MIT")


@pytest.mark.usefixtures("converted")
def test_what_decides_a_vector_and_what_showed_a_right_to_search_reach_the_manifest(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    query = replace(checkpoint, path=tmp_path, searches=("resnet50-16-ffffffffffff",))
    shown = certificate(query.space, query.searches[0])
    write_certificate(tmp_path, shown)
    manifest = export(query, tmp_path / "q").bundle.manifest
    assert manifest.identity == checkpoint.identity is not None
    assert (manifest.space, manifest.certificates) == (checkpoint.space, (shown,))
    assert manifest.preprocessing == checkpoint.preprocessing
    with pytest.raises(ConfigError, match="names its space"):  # a model in memory that is another than its name says
        export(replace(checkpoint, preprocessing=replace(checkpoint.preprocessing, fit="stretch")), tmp_path / "s")
    with pytest.raises(ConfigError, match="names its space"):
        other = {name: value * 2 if "running" in name else value for name, value in checkpoint.state.items()}
        export(replace(checkpoint, state=other), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("role", "mmacs", "tier"),
    [("query", 100, "100"), ("query", 101, "230"), ("query", 331, "other"), ("gallery", 90, "gallery")],
)
def test_the_tier_is_the_smallest_budget_that_holds_the_model(role: str, mmacs: float, tier: str) -> None:
    assert choose_tier(role, Cost(mmacs=mmacs, mmacs_paper=mmacs + 9, params_m=1)) == tier
