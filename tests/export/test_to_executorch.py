from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from compat_export import golden_images
from compat_export.convert import to_executorch
from compat_export.convert.conversion import Options, Port
from compat_export.convert.to_executorch import convert
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.errors import ConfigError, MissingExtraError
from compat_sdk.images import to_input
from compat_train.models import build_model
from tests.export.embedders import IMAGE, PREPROCESSING, Transform, cosines, embed, small_embedder

pytestmark = pytest.mark.usefixtures("executorch")


def run(graph: bytes, *inputs: NDArray[np.float32], batch: int = 1) -> NDArray[np.float32]:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(graph).load_method("forward")
    assert method is not None
    blocks = []
    for start in range(0, len(inputs[0]), batch):
        given = [torch.from_numpy(values[start : start + batch].copy()) for values in inputs]
        blocks.append(method.execute(given)[0].numpy().copy())
    return np.concatenate(blocks)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return golden_images(PREPROCESSING, 8)


@pytest.fixture(scope="module")
def images(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_input(pixels, PREPROCESSING)


@pytest.fixture(scope="module")
def plain() -> bytes:
    return convert(small_embedder(), [IMAGE], Options())["model.pte"]


def test_the_program_agrees_with_pytorch(plain: bytes, images: NDArray[np.float32]) -> None:
    assert np.abs(run(plain, images) - embed(small_embedder(), images)).max() < 1e-5


def test_pixels_in_a_fixed_batch_agree_with_prepared_images(
    pixels: NDArray[np.uint8], images: NDArray[np.float32]
) -> None:
    graph = convert(small_embedder(), [IMAGE], Options(batch=4, pixels=PREPROCESSING))["model.pte"]
    found = run(graph, pixels.transpose(0, 3, 1, 2).astype(np.float32), batch=4)
    assert np.abs(found - embed(small_embedder(), images)).max() < 1e-5


def test_half_precision_keeps_float_ports_the_direction_and_the_module(
    plain: bytes, images: NDArray[np.float32]
) -> None:
    module = small_embedder()
    graph = convert(module, [IMAGE], Options(precision="fp16"))["model.pte"]
    found = run(graph, images)
    assert found.dtype == np.float32 and cosines(found, embed(small_embedder(), images)).min() > 0.9999
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert graph != plain
    assert all(value.dtype == torch.float32 for value in module.parameters())


def test_half_precision_survives_variances_beyond_its_range(images: NDArray[np.float32]) -> None:
    module = small_embedder()
    layers = module.network
    assert isinstance(layers, nn.Sequential)
    conv, norm = layers[0], layers[1]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
    with torch.no_grad():  # the same function, as trained networks have it: a loud channel and a batch norm that knows
        conv.weight *= 1000
        norm.running_var *= 1e6
    found = run(convert(module, [IMAGE], Options(precision="fp16"))["model.pte"], images)
    assert cosines(found, embed(small_embedder(), images)).min() > 0.9999


def test_two_inputs_are_taken_in_the_order_of_the_ports() -> None:
    module = Transform().eval()
    graph = convert(module, [Port("old", (16,)), Port("side", (8,))], Options())["model.pte"]
    generator = np.random.default_rng(0)
    old, side = (generator.standard_normal((3, width), dtype=np.float32) for width in (16, 8))
    assert np.abs(run(graph, old, side) - embed(module, old, side)).max() < 1e-5


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(plain: bytes) -> None:
    code = (
        "import hashlib\n"
        "from compat_export.convert.conversion import Options\n"
        "from compat_export.convert.to_executorch import convert\n"
        "from tests.export.test_to_executorch import IMAGE, small_embedder\n"
        "graph = convert(small_embedder(), [IMAGE], Options())['model.pte']\n"
        "print(hashlib.sha256(graph).hexdigest())\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.stdout.strip() == hashlib.sha256(plain).hexdigest(), child.stderr


def test_half_precision_of_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"only of a network and the normalisation .* found Transform"):
        convert(Transform(), [Port("old", (16,)), Port("side", (8,))], Options(precision="fp16"))


@pytest.mark.parametrize(
    "options",
    [
        Options(precision="int8"),
        Options(precision="int8-static", calibration=np.zeros((1, 3, 32, 32), np.float32)),
        Options(precision="int4"),
        Options(precision="palette4"),
        Options(layout="nhwc"),
    ],
)
def test_what_this_target_does_not_have_is_refused(options: Options) -> None:
    with pytest.raises(ConfigError, match=r"choose (fp32, fp16|nchw)"):
        convert(small_embedder(), [IMAGE], options)


def test_a_missing_converter_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_executorch, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[export-executorch\]"):
        convert(nn.Identity(), [IMAGE], Options())


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "worst"), [("fp32", 0.999999), ("fp16", 0.9999)])
def test_a_shufflenet_survives_every_precision(images: NDArray[np.float32], precision: str, worst: float) -> None:
    torch.manual_seed(0)
    module = UnitEmbedder(build_model("shufflenet_v2", dim=16, width=0.25)).eval()
    graph = convert(module, [IMAGE], Options(precision=precision))["model.pte"]  # type: ignore[arg-type]
    assert cosines(run(graph, images), embed(module, images)).min() > worst
