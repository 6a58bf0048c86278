"""Core ML cannot run where these tests do: its refusal is tested, and the calls it makes, on a stand-in."""

from __future__ import annotations

import platform
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compat_sdk.bundle import Graph
from compat_sdk.engines import open_engine
from compat_sdk.engines.choice import CoreMLEngine
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError
from tests.sdk.bundles import make_bundle
from tests.sdk.engines.tiny import DIM, embed, images

FLOAT32, FLOAT16, INT32, RGB, GREY = 65568, 65552, 131104, 20, 10


class Kind(SimpleNamespace):
    """A protobuf message as far as the engine looks: ``WhichOneof`` names the field that is set."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802
        return getattr(self, f"oneof_{group}", None)


def array(*shape: int, kind: int = FLOAT32, rows: tuple[int, int] | None = None) -> Kind:
    found = Kind(dataType=kind, shape=list(shape))
    if rows is not None:
        found.oneof_ShapeFlexibility = "shapeRange"
        ranges = [SimpleNamespace(lowerBound=rows[0], upperBound=rows[1])]
        found.shapeRange = SimpleNamespace(
            sizeRanges=ranges + [SimpleNamespace(lowerBound=s, upperBound=s) for s in shape[1:]]
        )
    return Kind(oneof_Type="multiArrayType", multiArrayType=found)


def picture(space: int = RGB) -> Kind:
    return Kind(oneof_Type="imageType", imageType=Kind(colorSpace=space, height=8, width=8))


class FakeModel:
    """Records what it is asked; computes the tiny network, or fails."""

    inputs: dict[str, Kind] = {"image": array(1, 3, 8, 8, rows=(1, 4))}  # noqa: RUF012
    outputs: dict[str, Kind] = {"embedding": array(1, DIM)}  # noqa: RUF012
    opened: list[FakeModel] = []  # noqa: RUF012
    broken = False

    def __init__(self, package: str, compute_units: str) -> None:
        if not (Path(package) / "Manifest.json").is_file():
            raise Exception(f"no Manifest.json in {package}")
        self.package, self.units, self.fed = Path(package), compute_units, list[dict[str, Any]]()
        self.opened.append(self)

    def get_spec(self) -> SimpleNamespace:
        ports = [[SimpleNamespace(name=n, type=t) for n, t in d.items()] for d in (self.inputs, self.outputs)]
        return SimpleNamespace(description=SimpleNamespace(input=ports[0], output=ports[1]))

    def predict(self, feed: dict[str, Any]) -> dict[str, np.ndarray]:
        self.fed.append(dict(feed))
        if self.broken:
            raise RuntimeError("Error computing NN outputs.")
        if "other" in feed:
            return {"embedding": feed["vector"] - feed["other"]}
        value = feed["image"]
        if isinstance(value, Image.Image):
            value = np.asarray(value, np.float32).transpose(2, 0, 1)[None]
        return {"embedding": embed(value)}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "model.mlpackage"
    folder.mkdir()
    (folder / "Manifest.json").write_text("{}")
    return folder


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> type[FakeModel]:
    """A Mac with coremltools, as far as the engine can tell; gives the model's class, to be changed at will."""

    class Model(FakeModel):
        opened: list[FakeModel] = []  # noqa: RUF012

    module = ModuleType("coremltools")
    module.__spec__ = ModuleSpec("coremltools", None)
    names = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
    module.ComputeUnit = SimpleNamespace(**{name: name for name in names})  # type: ignore[attr-defined]
    module.models = SimpleNamespace(MLModel=Model)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "coremltools", module)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    return Model


def coreml_bundle(path: Path, **changes: Any) -> Any:
    graphs = (Graph(target="coreml", precision="fp16", file="model.mlpackage"),)
    files = {"model.mlpackage/Manifest.json": b"{}", "model.mlpackage/Data/weights/weight.bin": b"\1\2\3"}
    return make_bundle(path, **({"graphs": graphs, "graph_files": files} | changes))


def test_elsewhere_it_says_where_core_ml_runs(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(ConfigError, match="macOS and iOS only, and this is Linux"):
        CoreMLEngine(package)


def test_elsewhere_it_names_the_engines_that_can_run_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    onnx = Graph(target="onnx", precision="fp32", file="model.onnx")
    graphs = (Graph(target="coreml", precision="fp16", file="model.mlpackage"), onnx)
    files = {"model.mlpackage/Manifest.json": b"{}", "model.onnx": b"\x08\x08"}
    both = coreml_bundle(tmp_path / "both", graphs=graphs, graph_files=files)
    with pytest.raises(ConfigError, match="onnxruntime can run this bundle here"):
        open_engine(both, "coreml")
    with pytest.raises(BundleError, match=r"coreml fp16.*export it for onnx"):
        open_engine(coreml_bundle(tmp_path / "alone"))


def test_on_a_mac_without_coremltools_the_extra_is_named(
    package: Path, mac: type[FakeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(MissingExtraError, match=r'pip install .*\[coreml\]"'):
        CoreMLEngine(package)


def test_arrays_are_fed_in_batches_as_large_as_the_model_takes(package: Path, mac: type[FakeModel]) -> None:
    engine = CoreMLEngine(package)
    found = engine.run(images(9))
    np.testing.assert_allclose(found, embed(images(9)), atol=1e-6)
    assert found.dtype == np.float32
    assert [len(feed["image"]) for feed in mac.opened[0].fed] == [4, 4, 1]
    assert mac.opened[0].units == "ALL"


def test_a_fixed_batch_is_filled_up_with_the_last_row_and_cut(package: Path, mac: type[FakeModel]) -> None:
    for rows in (None, (4, 4)):
        mac.inputs = {"image": array(4, 3, 8, 8, rows=rows)}
        np.testing.assert_allclose(CoreMLEngine(package).run(images(5)), embed(images(5)), atol=1e-6)
        fed = [feed["image"] for feed in mac.opened[-1].fed]
        assert [len(block) for block in fed] == [4, 4]
        assert np.array_equal(fed[1], np.repeat(images(5)[4:], 4, axis=0))
    with pytest.raises(BundleError, match="batch is 2"):
        CoreMLEngine(package, batch=2)


def test_an_image_input_is_given_pictures_one_at_a_time(package: Path, mac: type[FakeModel]) -> None:
    mac.inputs = {"image": picture()}
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(CoreMLEngine(package).run(pixels), embed(pixels), atol=1e-6)
    fed = [feed["image"] for feed in mac.opened[0].fed]
    assert [(one.mode, one.size) for one in fed] == [("RGB", (8, 8))] * 3
    assert np.array_equal(np.asarray(fed[1]), pixels[1].transpose(1, 2, 0))


def test_prepared_values_are_not_squeezed_into_pictures(package: Path, mac: type[FakeModel]) -> None:
    mac.inputs = {"image": picture()}
    engine = CoreMLEngine(package)
    for wrong in (images(1), np.full((1, 3, 8, 8), 256, np.float32), np.full((1, 3, 8, 8), np.nan, np.float32)):
        with pytest.raises(BundleError, match="values = pixels"):
            engine.run(wrong)


def test_several_inputs_are_fed_by_name(package: Path, mac: type[FakeModel]) -> None:
    mac.inputs = {"other": array(1, DIM, rows=(1, -1)), "vector": array(1, DIM, kind=FLOAT16, rows=(1, -1))}
    engine = CoreMLEngine(package, input=("vector", "other"))
    vectors = embed(images(3))
    np.testing.assert_array_equal(engine.run(vectors, 2 * vectors), -vectors)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"pixels": array(1, 3, 8, 8)}, {"embedding": array(1, DIM)}, r"\['pixels'\]; expected \['image'\]"),
        ({"image": array(1, 3, 8, 8, kind=INT32)}, {"embedding": array(1, DIM)}, "an array of floats"),
        ({"image": picture(GREY)}, {"embedding": array(1, DIM)}, "expected colour"),
        ({"image": array(1, 3, 8, 8)}, {"features": array(1, DIM)}, r"\['features'\]; expected.*'embedding'"),
        ({"image": array(1, 3, 8, 8)}, {"embedding": array(1, DIM, kind=INT32)}, "a float array"),
    ],
)
def test_a_model_with_other_ports_is_refused(
    package: Path, mac: type[FakeModel], inputs: dict[str, Kind], outputs: dict[str, Kind], message: str
) -> None:
    mac.inputs, mac.outputs = inputs, outputs
    with pytest.raises(BundleError, match=message):
        CoreMLEngine(package)


def test_what_coremltools_raises_is_a_bundle_error(package: Path, mac: type[FakeModel], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot load the graph: no Manifest\.json"):
        CoreMLEngine(tmp_path / "nothing.mlpackage")
    mac.broken = True
    with pytest.raises(BundleError, match="Error computing NN outputs"):
        CoreMLEngine(package).run(images(1))


def test_the_compute_units_are_passed_on_and_unknown_ones_refused(package: Path, mac: type[FakeModel]) -> None:
    CoreMLEngine(package, compute_units="cpu_only")
    assert mac.opened[0].units == "CPU_ONLY"
    with pytest.raises(ConfigError, match="expected one of all, cpu_only"):
        CoreMLEngine(package, compute_units="gpu")  # type: ignore[arg-type]


def test_a_bundles_package_is_copied_for_the_engine_and_goes_with_it(tmp_path: Path, mac: type[FakeModel]) -> None:
    mac.inputs = {"image": array(1, 3, 16, 16)}
    engine = open_engine(coreml_bundle(tmp_path / "b"))
    copy = mac.opened[0].package
    assert engine.name == "coreml"
    assert copy.name == "model.mlpackage" and tmp_path not in copy.parents
    assert copy.parent.stat().st_mode & 0o077 == 0
    assert (copy / "Data/weights/weight.bin").read_bytes() == b"\1\2\3"
    mac.opened.clear()
    del engine
    assert not copy.parent.exists()


def test_a_package_that_changed_since_the_bundle_was_opened_is_not_copied(tmp_path: Path, mac: type[FakeModel]) -> None:
    bundle = coreml_bundle(tmp_path / "b")
    (tmp_path / "b/model.mlpackage/Data/weights/weight.bin").write_bytes(b"\3\2\1")
    with pytest.raises(BundleError, match="changed since"):
        open_engine(bundle, "coreml")
    assert mac.opened == []


def test_a_number_of_threads_is_refused_rather_than_ignored(tmp_path: Path, mac: type[FakeModel]) -> None:
    with pytest.raises(ConfigError, match="leave threads out"):
        open_engine(coreml_bundle(tmp_path / "b"), "coreml", threads=2)
