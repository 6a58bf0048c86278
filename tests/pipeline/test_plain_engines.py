"""The examples that open a bundle's graphs with the plain engines."""

from __future__ import annotations

import enum
import functools
import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compat_export import Options, export
from compat_export.profile_model import untrained_checkpoint
from compat_sdk.bundle import Bundle
from compat_sdk.images import Preprocessing

EXAMPLES = Path(__file__).parents[2] / "examples" / "plain_engines"
SCRIPTS = {"onnx": "with_onnxruntime.py", "tflite": "with_litert.py", "coreml": "with_coremltools.py"}
PACKAGES = {
    "onnx": ["onnxruntime"],
    "tflite": ["litert_torch", "ai_edge_litert"],
    "coreml": ["coremltools"],
}
# Unequal channels in reverse order: whoever leaves a step out, or does one twice, is far off.
PREPROCESSING = Preprocessing(size=32, mean=(0.9, 0.5, 0.1), std=(0.1, 0.3, 0.6), channels="bgr")

FEW_LAYERS = "global:plain:16:s3c3s3"  # what a client does is the same for every network


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A bundle of one graph, exported once for the same options."""

    @functools.cache
    def made(target: str, layout: str = "nchw", batch: int | None = None, pixels: bool = False) -> Path:
        for package in PACKAGES[target]:
            pytest.importorskip(package)
        fresh = untrained_checkpoint(FEW_LAYERS, size=32, dim=16)
        checkpoint = replace(fresh, preprocessing=PREPROCESSING)
        options = Options(layout=layout, batch=batch, pixels=PREPROCESSING if pixels else None)  # type: ignore[arg-type]
        out = tmp_path_factory.mktemp("plain") / "bundle"
        return export(checkpoint, out, targets=[target], precisions=[options]).bundle.path

    return made


Run = Callable[[str, Path], tuple[str, object]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a client in this process, where its engine is loaded: what it prints, and what it exits with or None."""

    def call(target: str, bundle: Path) -> tuple[str, object]:
        graph = bundle / json.loads((bundle / "manifest.json").read_text())["graphs"][0]["file"]
        script = str(EXAMPLES / SCRIPTS[target])
        monkeypatch.setattr(sys, "argv", [script, str(bundle), str(graph)])
        capsys.readouterr()
        code: object = None
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            code = leaving.code
        return capsys.readouterr().out, code

    return call


ON_A_MAC = pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on macOS alone")


@pytest.mark.parametrize(
    ("target", "layout", "batch", "pixels"),
    [
        ("onnx", "nchw", None, False),
        ("onnx", "nchw", None, True),
        ("onnx", "nchw", 2, False),
        # A conversion to this format takes seconds, and a client lays out axes after it has prepared the values.
        ("tflite", "nchw", None, False),
        ("tflite", "nhwc", 2, True),
        pytest.param("coreml", "nchw", None, False, marks=ON_A_MAC),
        pytest.param("coreml", "nchw", None, True, marks=ON_A_MAC),
    ],
)
def test_a_plain_engine_that_follows_the_manifest_gives_the_trained_models_embeddings(
    bundle_of: Callable[..., Path], run: Run, target: str, layout: str, batch: int | None, pixels: bool
) -> None:
    bundle = bundle_of(target, layout, batch, pixels)
    source = (EXAMPLES / SCRIPTS[target]).read_text()
    assert "import compat" not in source and "from compat" not in source  # it needs none of this package
    out, code = run(target, bundle)
    assert code is None
    assert out.startswith("(8, 16)")
    assert float(out.split()[-1]) > 0.99999


@pytest.mark.parametrize("pixels", [False, True], ids=["prepared", "pixels"])
def test_the_formula_of_a_client_that_has_never_heard_of_pixels_is_right_for_both(
    bundle_of: Callable[..., Path], pixels: bool
) -> None:
    """Mean and deviation out of the manifest, as the clients of 0.7 did it; their mistake is no longer one."""
    import onnxruntime

    bundle = Bundle.open(bundle_of("onnx", "nchw", None, pixels))
    steps = json.loads((bundle.path / "manifest.json").read_text())["preprocessing"]
    images, expected = bundle.golden()
    image = (images / 255 - steps["mean"]) / steps["std"]
    image = image[..., ::-1] if steps["channels"] == "bgr" else image
    session = onnxruntime.InferenceSession(bundle.read(bundle.manifest.graphs[0].file))
    fed = np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)
    (found,) = session.run(["embedding"], {"image": fed})
    assert (found * expected).sum(1).min() > 0.99999


def swapped(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["preprocessing"].update({name: value})


@pytest.mark.parametrize(
    ("pixels", "change"),
    [
        (True, swapped("mean", [0.9, 0.5, 0.1])),
        (True, swapped("std", [0.1, 0.3, 0.6])),
        (False, swapped("mean", [0, 0, 0])),
        (False, swapped("std", [1 / 255, 1 / 255, 1 / 255])),
        (False, swapped("channels", "rgb")),
        (False, swapped("fit", "stretch")),
        (False, swapped("crop", 0.6)),
    ],
)
def test_a_client_obeys_the_manifest_and_says_in_one_line_that_its_vectors_are_off(
    bundle_of: Callable[..., Path], run: Run, pixels: bool, change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    """Were a value not read, changing it would change nothing."""
    bundle = bundle_of("onnx", "nchw", None, pixels)
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for folder in ("golden", "onnx-fp32"):
        (tmp_path / folder).symlink_to(bundle / folder)
    _, said = run("onnx", tmp_path)  # a text, which Python prints before it ends with 1
    assert isinstance(said, str) and "\n" not in said and "expected at least 0.999" in said


def test_a_client_holds_a_graph_to_the_limit_that_its_bundle_states(
    bundle_of: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    bundle = bundle_of("onnx")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["graphs"][0]["min_cosine"] == 0.999
    manifest["graphs"][0]["min_cosine"] = -1.0
    manifest["preprocessing"]["channels"] = "rgb"  # wrong enough for the usual limit
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for folder in ("golden", "onnx-fp32"):
        (tmp_path / folder).symlink_to(bundle / folder)
    assert run("onnx", tmp_path)[1] is None


class PlayedByOnnxruntime:
    """What the client asks of coremltools' model."""

    def __init__(self, path: str, compute_units: object) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path)

    def predict(self, fed: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(fed["image"], np.ndarray):  # a picture
            fed = {"image": np.float32(fed["image"]).transpose(2, 0, 1)[None]}
        return {"embedding": self.session.run(["embedding"], fed)[0]}


COREML_STAND_IN = SimpleNamespace(
    ComputeUnit=enum.Enum("ComputeUnit", "CPU_ONLY"), models=SimpleNamespace(MLModel=PlayedByOnnxruntime)
)


@pytest.mark.parametrize("pixels", [False, True], ids=["prepared", "pixels"])
def test_the_client_of_core_ml_feeds_pictures_where_the_record_says_pixels(
    bundle_of: Callable[..., Path], run: Run, pixels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On any system: coremltools is played by onnxruntime, which gets what the client feeds."""
    bundle = bundle_of("onnx", "nchw", 1 if pixels else None, pixels)
    monkeypatch.setitem(sys.modules, "coremltools", COREML_STAND_IN)
    out, code = run("coreml", bundle)
    assert code is None
    assert float(out.split()[-1]) > 0.99999
