from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
import torch

from compat_export import golden_images
from compat_export.convert.conversion import SMALLEST_COMPRESSED, Options, Port, Precision
from compat_export.convert.quantize_onnx import quantize
from compat_export.convert.shared import Shared
from compat_export.convert.to_onnx import convert
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.bundle.self_test import MIN_COSINE
from compat_sdk.errors import CompatError, ConfigError
from compat_sdk.images import to_input
from compat_train.models import build_model
from tests.export.embedders import IMAGE, PREPROCESSING, Transform, cosines, embed, small_embedder


def run(graph: bytes, **inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found: NDArray[np.float32] = onnxruntime.InferenceSession(graph, options).run(["embedding"], inputs)[0]
    return found


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return golden_images(PREPROCESSING, 32)


@pytest.fixture(scope="module")
def images(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_input(pixels, PREPROCESSING)


@pytest.fixture(scope="module")
def graph_of(images: NDArray[np.float32]) -> Callable[[Precision], bytes]:
    """The small embedder at a precision, converted once; all begin with one float32 graph, as in an export."""
    embedder, shared = small_embedder(), Shared()

    @functools.cache
    def made(precision: Precision) -> bytes:
        options = Options(precision, calibration=images if precision == "int8-static" else None)
        return convert(embedder, [IMAGE], options, shared)["model.onnx"]

    return made


# What an export and every self-test hold a graph to. Arithmetic of 8-bit activations differs by processor.
@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-static"])
def test_a_small_format_keeps_the_direction_the_norm_and_a_free_batch(
    graph_of: Callable[[Precision], bytes], images: NDArray[np.float32], precision: Precision
) -> None:
    graph = graph_of(precision)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    for rows in (1, 5, 32):
        found = run(graph, image=images[:rows])
        assert found.dtype == np.float32 and found.shape == (rows, 16)
        assert cosines(found, embed(small_embedder(), images[:rows])).min() > MIN_COSINE[precision]
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_int8_stores_one_scale_per_channel_and_leaves_activations_and_small_weights_alone(
    graph_of: Callable[[Precision], bytes],
) -> None:
    model = onnx.load_from_string(graph_of("int8"))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("DequantizeLinear") == 2 and "QuantizeLinear" not in kinds
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            codes, scale = (tensors[name] for name in node.input)
            (axis,) = (a.i for a in node.attribute if a.name == "axis")
            assert codes.data_type == onnx.TensorProto.INT8 and scale.dims == [codes.dims[axis]]
            assert np.prod(codes.dims) >= SMALLEST_COMPRESSED
    floats = {tuple(tensor.dims) for tensor in tensors.values() if tensor.data_type == onnx.TensorProto.FLOAT}
    assert (32, 1, 3, 3) in floats, "the depthwise kernel"


def test_pixels_in_fixed_batches_agree_with_prepared_images(
    pixels: NDArray[np.uint8], images: NDArray[np.float32]
) -> None:
    graph = convert(small_embedder(), [IMAGE], Options(batch=8, pixels=PREPROCESSING))["model.onnx"]
    (given,) = onnx.load_from_string(graph).graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [8, 3, 32, 32]
    found = run(graph, image=pixels[:8].transpose(0, 3, 1, 2).astype(np.float32))
    assert np.abs(found - embed(small_embedder(), images[:8])).max() < 1e-5


def test_static_int8_is_calibrated_on_what_a_pixel_graph_is_given(
    pixels: NDArray[np.uint8], images: NDArray[np.float32]
) -> None:
    options = Options(precision="int8-static", calibration=images[:30], batch=4, pixels=PREPROCESSING)
    graph = convert(small_embedder(), [IMAGE], options)["model.onnx"]
    found = run(graph, image=pixels[:4].transpose(0, 3, 1, 2).astype(np.float32))
    assert cosines(found, embed(small_embedder(), images[:4])).min() > MIN_COSINE["int8-static"]


def test_two_inputs_share_a_free_batch() -> None:
    module = Transform().eval()
    graph = convert(module, [Port("old", (16,)), Port("side", (8,))], Options())["model.onnx"]
    assert [given.name for given in onnx.load_from_string(graph).graph.input] == ["old", "side"]
    generator = np.random.default_rng(0)
    for rows in (1, 2, 7):
        old, side = (generator.standard_normal((rows, width), dtype=np.float32) for width in (16, 8))
        assert np.abs(run(graph, old=old, side=side) - embed(module, old, side)).max() < 1e-5


def test_another_process_writes_the_same_bytes_in_silence_with_warnings_as_errors(
    graph_of: Callable[[Precision], bytes],
) -> None:
    code = (
        "import hashlib, warnings\n"
        "from compat_export.convert.conversion import Options\n"
        "from compat_export import golden_images\n"
        "from compat_export.convert.to_onnx import convert\n"
        "from compat_sdk.images.preprocess import to_input\n"
        "from tests.export.test_onnx_precisions import IMAGE, PREPROCESSING, small_embedder\n"
        "images = to_input(golden_images(PREPROCESSING, 32), PREPROCESSING)\n"
        "options = Options(precision='int8-static', calibration=images)\n"
        "warnings.simplefilter('error')\n"
        "print(hashlib.sha256(convert(small_embedder(), [IMAGE], options)['model.onnx']).hexdigest())\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    digest = hashlib.sha256(graph_of("int8-static")).hexdigest()
    assert (child.returncode, child.stdout, child.stderr) == (0, f"{digest}\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(precision="int4"), "choose fp32, fp16, int8, int8-static"),
        (Options(precision="palette6"), "choose fp32, fp16, int8, int8-static"),
        (Options(layout="nhwc"), "choose nchw"),
        (Options(precision="int8-static", calibration=np.zeros((2, 5), np.float32)), r"\[n, \*shape\]"),
    ],
)
def test_what_this_target_does_not_have_is_refused(options: Options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(small_embedder(), [IMAGE], options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "worst"), [("fp32", 0.999999), ("fp16", 0.9999), ("int8", 0.999), ("int8-static", 0.97)]
)
def test_a_shufflenet_survives_every_precision(images: NDArray[np.float32], precision: str, worst: float) -> None:
    torch.manual_seed(0)
    module = UnitEmbedder(build_model("shufflenet_v2", dim=16, width=0.25)).eval()
    calibration = images if precision == "int8-static" else None
    options = Options(precision=precision, calibration=calibration)  # type: ignore[arg-type]
    found = run(convert(module, [IMAGE], options)["model.onnx"], image=images)
    assert cosines(found, embed(module, images)).min() > worst


@pytest.mark.skipif(sys.platform != "linux", reason="seen on Linux alone")
@pytest.mark.parametrize("precision", ["fp16", "int8-static"])
def test_nothing_imports_a_part_of_onnxruntime_after_usearch(
    monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    """The import would end the process with signal 11."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "usearch", ModuleType("usearch"))
    calibration = np.zeros((1, 3, 16, 16), np.float32) if precision == "int8-static" else None
    with pytest.raises(CompatError, match="this process imported usearch before onnxruntime"):
        quantize(onnx.ModelProto(), Port("image", (3, 16, 16)), Options(precision, calibration=calibration))
