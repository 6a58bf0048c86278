from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from compat_export import golden_images
from compat_export.convert import to_litert
from compat_export.convert.conversion import Options, Port
from compat_export.convert.shared import Shared
from compat_export.convert.to_litert import SIGNATURE, convert
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.errors import ConfigError, MissingExtraError
from compat_sdk.images import to_input
from compat_train.models import build_model
from tests.export.embedders import IMAGE, PREPROCESSING, Transform, cosines, embed, small_embedder

pytestmark = pytest.mark.usefixtures("litert")


def run(graph: bytes, **inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=graph, num_threads=1)
    runner = interpreter.get_signature_runner(SIGNATURE)
    batch = next(iter(runner.get_input_details().values()))["shape"][0]
    rows = len(next(iter(inputs.values())))
    blocks = [
        runner(**{name: values[start : start + batch] for name, values in inputs.items()})["embedding"]
        for start in range(0, rows, batch)
    ]
    return np.concatenate(blocks)


def names(graph: bytes) -> tuple[list[str], list[str]]:
    from ai_edge_litert.interpreter import Interpreter

    (found,) = Interpreter(model_content=graph).get_signature_list().values()
    return found["inputs"], found["outputs"]


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return golden_images(PREPROCESSING, 32)


@pytest.fixture(scope="module")
def images(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_input(pixels, PREPROCESSING)


@pytest.fixture(scope="module")
def small() -> UnitEmbedder:
    return small_embedder()


@pytest.fixture(scope="module")
def shared() -> Shared:
    """Every precision of the small embedder begins with one float32 graph, as in an export."""
    return Shared()


@pytest.fixture(scope="module")
def plain(small: UnitEmbedder, shared: Shared) -> bytes:
    return convert(small, [IMAGE], Options(), shared)["model.tflite"]


@pytest.fixture(scope="module")
def in_bytes(small: UnitEmbedder, shared: Shared) -> bytes:
    return convert(small, [IMAGE], Options(precision="int8"), shared)["model.tflite"]


def test_the_float_graph_agrees_with_pytorch_and_carries_our_names(
    small: UnitEmbedder, plain: bytes, images: NDArray[np.float32]
) -> None:
    assert names(plain) == (["image"], ["embedding"])
    assert np.abs(run(plain, image=images) - embed(small, images)).max() < 1e-5


@pytest.mark.parametrize(("precision", "worst"), [("fp16", 0.9999), ("int8", 0.999)])
def test_compressed_weights_keep_the_direction_and_float_ports(
    small: UnitEmbedder,
    shared: Shared,
    plain: bytes,
    in_bytes: bytes,
    images: NDArray[np.float32],
    precision: str,
    worst: float,
) -> None:
    graph = in_bytes if precision == "int8" else convert(small, [IMAGE], Options("fp16"), shared)["model.tflite"]
    assert names(graph) == (["image"], ["embedding"])
    found = run(graph, image=images)
    assert found.dtype == np.float32 and cosines(found, embed(small, images)).min() > worst
    assert len(graph) < 0.75 * len(plain)


def test_static_int8_takes_nhwc_pixels_in_fixed_batches(
    small: UnitEmbedder, pixels: NDArray[np.uint8], images: NDArray[np.float32]
) -> None:
    options = Options(precision="int8-static", calibration=images[:30], batch=4, layout="nhwc", pixels=PREPROCESSING)
    graph = convert(small, [IMAGE], options)["model.tflite"]
    found = run(graph, image=pixels.astype(np.float32))
    assert names(graph) == (["image"], ["embedding"]) and found.dtype == np.float32
    assert cosines(found, embed(small, images)).min() > 0.97
    # The normalisation is float: unit length to far below a step of 8 bits.
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_static_int8_clips_no_calibration_image(
    small: UnitEmbedder, shared: Shared, images: NDArray[np.float32]
) -> None:
    # The calibrator itself takes a moving average of the images' ranges: fitted to the 30 faint ones.
    calibration = np.concatenate([images[:2], images[2:32] * np.float32(0.02)])
    options = Options(precision="int8-static", calibration=calibration)
    graph = convert(small, [IMAGE], options, shared)["model.tflite"]
    assert cosines(run(graph, image=images[:2]), embed(small, images[:2])).min() > 0.97


def test_pixels_and_layout_and_batch_are_exact_in_float(
    small: UnitEmbedder, pixels: NDArray[np.uint8], images: NDArray[np.float32]
) -> None:
    graph = convert(small, [IMAGE], Options(batch=8, layout="nhwc", pixels=PREPROCESSING))["model.tflite"]
    assert np.abs(run(graph, image=pixels.astype(np.float32)) - embed(small, images)).max() < 1e-5


def test_two_inputs_keep_their_names_in_order() -> None:
    module = Transform().eval()
    graph = convert(module, [Port("old", (16,)), Port("side", (8,))], Options(batch=5))["model.tflite"]
    generator = np.random.default_rng(0)
    old, side = (generator.standard_normal((5, width), dtype=np.float32) for width in (16, 8))
    assert names(graph) == (["old", "side"], ["embedding"])
    assert np.abs(run(graph, old=old, side=side) - embed(module, old, side)).max() < 1e-5


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(in_bytes: bytes) -> None:
    code = (
        "import hashlib\n"
        "from compat_export.convert.conversion import Options\n"
        "from compat_export.convert.to_litert import convert\n"
        "from tests.export.test_to_litert import IMAGE, small_embedder\n"
        "graph = convert(small_embedder(), [IMAGE], Options(precision='int8'))['model.tflite']\n"
        "print(hashlib.sha256(graph).hexdigest())\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.stdout.strip() == hashlib.sha256(in_bytes).hexdigest(), child.stderr


def test_the_module_is_left_as_it_was(small: UnitEmbedder, plain: bytes) -> None:
    fresh = small_embedder()
    assert not small.training
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), fresh.state_dict().values(), strict=True))


@pytest.mark.parametrize("precision", ["int4", "palette8", "palette6", "palette4"])
def test_precisions_of_other_targets_are_refused(small: UnitEmbedder, precision: str) -> None:
    with pytest.raises(ConfigError, match="choose fp32, fp16, int8, int8-static"):
        convert(small, [IMAGE], Options(precision=precision))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ports", "options", "message"),
    [
        ([Port("old", (16,)), Port("side", (8,))], Options(layout="nhwc"), "choose nchw"),
        ([Port("old", (16,)), Port("side", (8,))], Options(pixels=PREPROCESSING), "leave pixels out"),
        ([IMAGE], Options(precision="int8-static", calibration=np.zeros((2, 5), np.float32)), r"\[n, \*shape\]"),
    ],
)
def test_options_that_do_not_fit_the_inputs_are_refused(ports: Sequence[Port], options: Options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(nn.Identity(), ports, options)


def test_a_missing_converter_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_litert, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[export-litert\]"):
        convert(nn.Identity(), [IMAGE], Options())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "worst"), [("fp32", 0.999999), ("fp16", 0.9999), ("int8", 0.999), ("int8-static", 0.97)]
)
def test_a_shufflenet_survives_every_precision(images: NDArray[np.float32], precision: str, worst: float) -> None:
    torch.manual_seed(0)
    module = UnitEmbedder(build_model("shufflenet_v2", dim=16, width=0.25)).eval()
    calibration = images if precision == "int8-static" else None
    options = Options(precision=precision, calibration=calibration)  # type: ignore[arg-type]
    found = run(convert(module, [IMAGE], options)["model.tflite"], image=images)
    assert cosines(found, embed(module, images)).min() > worst
