"""Transforms at run time: what they take, what they refuse, and how their bundles differ from those of image models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Graph, TransformSource
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, CheckFailedError, ConfigError, VectorError
from compat_sdk.files.documents import canonical_json, indented_json
from compat_sdk.images import Preprocessing
from compat_sdk.profile import profile_bundle
from compat_sdk.transform import ROWS, Transform
from tests.sdk.bundles import LinearEngine, make_bundle
from tests.sdk.transforms import (
    ALONE,
    NEW,
    OLD,
    SIDE,
    WITH_SIDE,
    LinearTransform,
    expected,
    golden,
    identity_of,
    make_transform,
    onnx_transform,
    unit_rows,
)


class Wrong:
    name = "wrong"

    def __init__(self, vectors: NDArray[Any]) -> None:
        self.vectors = vectors

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.vectors[: len(inputs[0])]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_transform(tmp_path / "h")


@pytest.fixture
def transform(bundle: Bundle) -> Transform:
    return Transform.load(bundle, engine=LinearTransform())


def test_a_transform_says_where_it_leads_from_and_to(transform: Transform) -> None:
    assert (transform.old_space, transform.old_dim) == (WITH_SIDE.old_space, OLD)
    assert (transform.side_space, transform.side_dim) == (WITH_SIDE.side_space, SIDE)
    assert (transform.space, transform.dim) == ("new-5-cccccccccccc", NEW)


def test_each_row_becomes_a_unit_vector_of_the_new_space(transform: Transform) -> None:
    old, side = unit_rows(7, OLD), unit_rows(7, SIDE, 1)
    found = transform.apply(old, side)
    assert found.dtype == np.float32 and found.shape == (7, NEW)
    np.testing.assert_allclose(found, expected(old, side), atol=1e-6)
    assert transform.apply(old[:0], side[:0]).shape == (0, NEW)
    np.testing.assert_array_equal(transform.apply(np.asfortranarray(old), side), found)


def test_without_side_information_the_old_vectors_are_enough(tmp_path: Path) -> None:
    alone = Transform.load(make_transform(tmp_path / "h", ALONE), engine=LinearTransform())
    old = unit_rows(3, OLD)
    np.testing.assert_allclose(alone.apply(old), expected(old), atol=1e-6)
    assert (alone.side_space, alone.side_dim) == (None, None)
    assert alone.self_test().rows == 4


def test_many_rows_reach_the_engine_in_blocks(bundle: Bundle) -> None:
    engine = LinearTransform()
    count = ROWS + 3
    old, side = unit_rows(count, OLD), unit_rows(count, SIDE, 1)
    found = Transform.load(bundle, engine=engine).apply(old, side)
    assert engine.batches == [ROWS, 3]
    np.testing.assert_allclose(found, expected(old, side), atol=1e-6)


def test_side_information_that_is_missing_or_has_no_use_is_refused(transform: Transform, tmp_path: Path) -> None:
    old = unit_rows(2, OLD)
    with pytest.raises(ConfigError, match="takes side-information, space side-3-bbbbbbbbbbbb, 3 numbers per row"):
        transform.apply(old)
    alone = Transform.load(make_transform(tmp_path / "alone", ALONE), engine=LinearTransform())
    with pytest.raises(ConfigError, match="takes none; leave it out"):
        alone.apply(old, unit_rows(2, SIDE))


@pytest.mark.parametrize(
    ("old", "side", "message", "rows"),
    [
        (unit_rows(2, OLD).astype(np.float64), unit_rows(2, SIDE), "the old vectors are float64", ()),
        (unit_rows(2, OLD)[0], unit_rows(2, SIDE), r"the old vectors are float32 of shape \[6\]", ()),
        (unit_rows(2, OLD + 1), unit_rows(2, SIDE), "the old vectors have 7 numbers; expected 6", ()),
        (unit_rows(2, OLD), unit_rows(2, OLD), "the side vectors have 6 numbers; expected 3", ()),
        (unit_rows(2, OLD), unit_rows(3, SIDE), "2 old vectors and 3 of side-information", ()),
        (unit_rows(3, OLD) * np.float32([[1], [np.nan], [1]]), unit_rows(3, SIDE), "the old .* NaN", (1,)),
        (unit_rows(3, OLD) * np.float32([[1], [1], [2]]), unit_rows(3, SIDE), "the old .* unit length", (2,)),
        (unit_rows(3, OLD), unit_rows(3, SIDE) * np.float32([[0.5], [1], [1]]), "the side .* unit length", (0,)),
        ([[1.0] * OLD], unit_rows(1, SIDE), "the old vectors are list", ()),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_right_do_not_reach_the_engine(
    bundle: Bundle, old: Any, side: Any, message: str, rows: tuple[int, ...]
) -> None:
    engine = LinearTransform()
    with pytest.raises(VectorError, match=message) as caught:
        Transform.load(bundle, engine=engine).apply(old, side)
    assert caught.value.rows == rows
    assert engine.batches == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_what_the_engine_makes_of_no_use_is_named_by_row(bundle: Bundle, value: float) -> None:
    made = unit_rows(4, NEW)
    made[2] = value
    with pytest.raises(VectorError, match=r"\(rows 2\)") as caught:
        Transform.load(bundle, engine=Wrong(made)).apply(unit_rows(4, OLD), unit_rows(4, SIDE))
    assert caught.value.rows == (2,)


def test_a_graph_of_another_dimension_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="does not fit its graph"):
        Transform.load(bundle, engine=Wrong(unit_rows(4, NEW + 1))).apply(unit_rows(4, OLD), unit_rows(4, SIDE))


def test_the_self_test_compares_with_what_the_trained_transform_made(bundle: Bundle, transform: Transform) -> None:
    test = transform.self_test()
    assert test.rows == 4 and test.min_cosine > 0.999999 and test.max_abs_difference < 1e-6
    with pytest.raises(CheckFailedError, match=r"golden row .* expected at least 0\.999"):
        Transform.load(bundle, engine=Wrong(np.roll(golden(WITH_SIDE)[-1], 1, axis=0))).self_test()


def test_a_transform_and_an_image_model_say_which_class_opens_them(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a transform .*\.Transform\.load"):
        Embedder.load(bundle.path, engine=LinearEngine())
    with pytest.raises(ConfigError, match=r"is a transform .* upgrade plan"):
        profile_bundle(bundle.path)
    with pytest.raises(ConfigError, match="ask for golden_vectors"):
        bundle.golden()
    images = make_bundle(tmp_path / "query")
    with pytest.raises(ConfigError, match=r"is a query model, which takes images; .*Embedder\.load"):
        Transform.load(images.path, engine=LinearTransform())
    with pytest.raises(ConfigError, match="not a transform; ask for golden"):
        images.golden_vectors()
    side = make_bundle(tmp_path / "side", role="side-info", searches=(), tier="side-info")
    assert Embedder.load(side.path, engine=LinearEngine()).self_test().rows == 4


def test_an_engine_of_ones_own_has_its_graph_already(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="has its graph already"):
        Transform.load(bundle, engine=LinearTransform(), threads=2)


@pytest.mark.parametrize("name", ["h", "h.zip"])
def test_onnxruntime_runs_both_forms_of_a_bundle(tmp_path: Path, name: str) -> None:
    make_transform(tmp_path / name, graph_files={"model.onnx": onnx_transform()})
    transform = Transform.load(tmp_path / name, threads=1)
    old, side = unit_rows(9, OLD), unit_rows(9, SIDE, 1)
    np.testing.assert_allclose(transform.apply(old, side), expected(old, side), atol=1e-5)
    assert transform.engine.name == "onnxruntime"
    assert transform.self_test().max_abs_difference < 1e-5


def test_the_manifest_survives_and_the_bytes_repeat(tmp_path: Path) -> None:
    one, two = make_transform(tmp_path / "one.zip"), make_transform(tmp_path / "two.zip")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert Bundle.open(one.path).manifest == one.manifest
    assert one.manifest.source == WITH_SIDE and one.manifest.preprocessing is None
    inputs, vectors = one.golden_vectors()
    for found, given in zip((*inputs, vectors), golden(WITH_SIDE), strict=True):
        np.testing.assert_array_equal(found, given)


IMAGE = Graph(target="onnx", precision="fp32", file="model.onnx")
PAIR = Graph(target="onnx", precision="fp32", file="model.onnx", inputs=("old", "side"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": None, "golden": golden(WITH_SIDE)[::2]}, "expected a source and no preprocessing"),
        ({"preprocessing": Preprocessing(size=16)}, "expected a source and no preprocessing"),
        ({"role": "query"}, "a query model takes images"),
        ({"role": "side-info"}, "a side-info model takes images"),
        ({"searches": ("big-8-bbbbbbbbbbbb",)}, "expected none"),
        ({"space": WITH_SIDE.old_space}, "to itself"),
        ({"graphs": (IMAGE,)}, "has the inputs image; expected old, side"),
        ({"graphs": (Graph("onnx", "fp32", "model.onnx", inputs=("side", "old")),)}, "expected old, side"),
        ({"graphs": (Graph("onnx", "fp32", "model.onnx", inputs=("old", "side"), layout="nhwc"),)}, "of an image"),
        ({"graphs": (Graph("onnx", "fp32", "model.onnx", inputs=("old", "side"), values="pixels"),)}, "of an image"),
        ({"golden": golden(ALONE)}, "there are 2 golden arrays"),
        ({"golden": (unit_rows(4, OLD + 1), *golden(WITH_SIDE)[1:])}, r"golden old vectors .* expected float32 \[4, 6"),
        ({"golden": (*golden(WITH_SIDE)[:1], unit_rows(3, SIDE), golden(WITH_SIDE)[2])}, "golden side vectors"),
        ({"golden": (golden(WITH_SIDE)[0] * np.float32(np.nan), *golden(WITH_SIDE)[1:])}, "golden old .* NaN"),
        ({"golden": (*golden(WITH_SIDE)[:2], unit_rows(4, NEW + 1))}, "golden embeddings"),
    ],
)
def test_a_transforms_bundle_that_makes_no_sense_is_not_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, BundleError), match=message):
        make_transform(tmp_path / "h", **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_image_bundle_has_one_input_and_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one, the image"):
        make_bundle(tmp_path / "q", graphs=(PAIR,))
    with pytest.raises(ConfigError, match="side-info model searches"):
        make_bundle(tmp_path / "q", role="side-info")
    for inputs in ((), ("old", "old"), ("",), "old"):
        with pytest.raises(ConfigError, match="input"):
            Graph("onnx", "fp32", "model.onnx", inputs=inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (("a b", 6), "not a space identifier"),
        (("a", 0), "old_dim is 0"),
        (("a", True), "old_dim is True"),
        (("a", 6, "s"), "expected both or neither"),
        (("a", 6, None, 3), "expected both or neither"),
        (("a", 6, "s", 70000), "side_dim is 70000"),
    ],
)
def test_a_source_out_of_range_is_refused(source: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TransformSource(*source)


def rewrite(path: Path, change: dict[str, Any]) -> None:
    """Change the manifest and give it the digest of what it says now."""
    import hashlib

    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["digest"]
    manifest |= change
    manifest["digest"] = hashlib.sha256(canonical_json(manifest)).hexdigest()
    (path / "manifest.json").write_bytes(indented_json(manifest))


@pytest.mark.parametrize(
    "change",
    [
        {"source": None},
        {"source": {"old_space": "old", "old_dim": OLD}},
        {"source": {"old_space": "old", "old_dim": OLD, "side_space": None, "side_dim": None, "more": 1}},
        {"source": "old"},
        {"preprocessing": Preprocessing(size=16).to_json()},
        {"role": "gallery"},
        {"graphs": [{"target": "onnx", "precision": "fp32", "file": "model.onnx", "inputs": "old"}]},
        {"graphs": [{"target": "onnx", "precision": "fp32", "file": "model.onnx", "inputs": ["old"]}]},
        {"graphs": [{"target": "onnx", "precision": "fp32", "file": "model.onnx", "inputs": [1, 2]}]},
        {"graphs": [{"target": "onnx", "precision": "fp32", "file": "model.onnx", "input": "old"}]},
    ],
    ids=str,
)
def test_a_manifest_that_was_changed_to_make_no_sense_is_refused(bundle: Bundle, change: dict[str, Any]) -> None:
    rewrite(bundle.path, change)
    with pytest.raises(BundleError, match=r"golden|malformed"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["old", "side", "embeddings"])
def test_damaged_or_missing_golden_vectors_are_refused(bundle: Bundle, name: str) -> None:
    file = bundle.path / "golden" / f"{name}.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=name):
        Bundle.open(bundle.path)
    file.unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.open(bundle.path)


def test_a_source_of_another_size_than_the_golden_vectors_is_refused(bundle: Bundle) -> None:
    other = TransformSource("old", OLD, "s", SIDE + 1)
    rewrite(bundle.path, {"source": dataclasses.asdict(other), "identity": identity_of(other).to_json()})
    with pytest.raises(BundleError, match="golden side vectors"):
        Bundle.open(bundle.path)
