from __future__ import annotations

import copy
import hashlib
import logging
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_export.check.parity import Parity, compare_embeddings, measure_parity
from compat_export.convert import to_coreml
from compat_export.convert.conversion import Options, Port
from compat_export.convert.shared import Shared
from compat_export.convert.to_coreml import convert
from compat_export.convert.unit import UnitEmbedder, without_in_place
from compat_export.mil import CoreMLTwin, Package, Program, quiet
from compat_sdk.errors import ConfigError, MissingExtraError
from compat_sdk.images import Preprocessing, to_input
from compat_train.models import build_model
from tests.export.coreml_nets import digests, settled

pytestmark = pytest.mark.usefixtures("coremltools")
torch.set_num_threads(1)
SIZE = 32
IMAGE = Port("image", (3, SIZE, SIZE))
SHARED = Shared()
"""A module is traced once: what Core ML's converter is given of it is the same at every precision."""


def embedder(arch: str, blocks: int | None = None) -> nn.Module:
    """An architecture, or its first blocks and a head: a conversion takes time by layer."""
    torch.manual_seed(0)
    network: Any = build_model(arch, dim=16, width=0.25)
    if blocks is not None:
        body = "stages" if hasattr(network, "stages") else "features"
        setattr(network, body, getattr(network, body)[:blocks])
        network.head = nn.Identity()
        network.head = nn.Linear(network.eval()(torch.zeros(1, *IMAGE.shape)).shape[1], 16)
    return settled(UnitEmbedder(without_in_place(network)))


class Mixed(nn.Module):
    """Operations that no backbone of ours holds: 7x7 depthwise, average pools, shuffles, sigmoid, flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1))
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 7, 1, 3, groups=8), nn.Sigmoid(), nn.AvgPool2d(3, 2, 1))
        self.head = nn.Linear(8 * 16, 16)

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.deep(self.wide(image)).chunk(2, 1)
        return nn.functional.normalize(self.head(torch.stack((first, second), 2).flatten(1, 2).flatten(1)))


class Merge(nn.Module):
    """Two embeddings to one, as a transform does: 1x1 convolutions or linear layers, batch norm, concatenation."""

    def __init__(self, convolution: bool) -> None:
        super().__init__()
        self.convolution = convolution

        def layer(size: int) -> list[nn.Module]:
            if convolution:
                return [nn.Conv2d(size, 128, 1), nn.BatchNorm2d(128), nn.ReLU()]
            return [nn.Linear(size, 128), nn.BatchNorm1d(128), nn.ReLU()]

        self.old, self.new = nn.Sequential(*layer(128)), nn.Sequential(*layer(128))
        self.both = nn.Sequential(*layer(256), nn.Conv2d(128, 128, 1) if convolution else nn.Linear(128, 128))

    def forward(self, embedding: Tensor, context: Tensor) -> Tensor:
        if self.convolution:
            embedding, context = embedding[..., None, None], context[..., None, None]
        return self.both(torch.cat((self.old(embedding), self.new(context)), 1)).flatten(1)


class Few(nn.Module):
    """What a ResNet is made of, in few layers: a conversion takes time by layer. Its weights fill half a megabyte."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.branch = nn.Sequential(
            nn.Conv2d(32, 96, 3, 2, 1, bias=False), nn.BatchNorm2d(96), nn.ReLU(), nn.Conv2d(96, 96, 3, 1, 1)
        )
        self.shortcut = nn.Conv2d(32, 96, 1, 2)
        self.head = nn.Linear(96, 16)

    def forward(self, image: Tensor) -> Tensor:
        features = self.pool(self.stem(image))
        return self.head(torch.relu(self.branch(features) + self.shortcut(features)).mean((2, 3)))


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return settled(UnitEmbedder(Few()))


@pytest.fixture(scope="module")
def plain(small: nn.Module) -> dict[str, bytes]:
    """The files of the network at full precision."""
    return convert(small, [IMAGE], Options())


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((6, *IMAGE.shape)).astype(np.float32)


def expected(module: nn.Module, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return module(*map(torch.from_numpy, inputs)).numpy()  # type: ignore[no-any-return]


def parity_of(module: nn.Module, options: Options, images: NDArray[np.float32]) -> Parity:
    engine = CoreMLTwin(Package.from_files(convert(module, [IMAGE], options, SHARED)))
    return measure_parity(engine, [images], expected(module, images))  # alone and in batches of 5


WHOLE = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3", "shufflenet_v2")
BLOCKS = (("resnet18", 2), ("mobilenet_v2", 5), ("shufflenet_v2", 5))


@pytest.mark.parametrize(
    ("arch", "blocks"), [*BLOCKS, *(pytest.param(arch, None, marks=pytest.mark.slow) for arch in WHOLE)]
)
def test_the_saved_package_agrees_with_pytorch_at_every_batch_size(
    arch: str, blocks: int | None, images: NDArray[np.float32]
) -> None:
    assert parity_of(embedder(arch, blocks), Options(), images).max_abs_difference < 1e-5


@pytest.mark.parametrize(("blocks", "units"), [(5, 3), pytest.param(None, 16, marks=pytest.mark.slow)])
def test_the_channel_shuffle_stays_one_operation_with_a_free_batch(blocks: int | None, units: int) -> None:
    shuffles = embedder("shufflenet_v2", blocks)
    program = Program(Package.from_files(convert(shuffles, [IMAGE], Options(precision="fp16"))))
    assert program.operations.count("concat") == units
    assert not {"reshape", "transpose", "stack", "shape"} & set(program.operations)
    assert program.inputs["image"].lengths == ((1, 1024), (3, 3), (SIZE, SIZE), (SIZE, SIZE))


@pytest.fixture(scope="module")
def mixed() -> nn.Module:
    torch.manual_seed(0)
    return settled(Mixed())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_operations_outside_our_backbones_agree(mixed: nn.Module, precision: str, images: NDArray[np.float32]) -> None:
    parity = parity_of(mixed, Options(precision=precision), images)  # type: ignore[arg-type]
    assert parity.max_abs_difference < (1e-5 if precision == "fp32" else 1e-3)


@pytest.mark.parametrize("convolution", [True, False])
@pytest.mark.parametrize("batch", [None, 3])
def test_two_inputs_keep_their_names_and_their_order(convolution: bool, batch: int | None) -> None:
    torch.manual_seed(0)
    module = settled(Merge(convolution))
    files = convert(module, [Port("embedding_old", (128,)), Port("context", (128,))], Options(batch=batch))
    engine = CoreMLTwin(Package.from_files(files), inputs=("embedding_old", "context"))
    first, second = np.random.default_rng(0).standard_normal((2, 5, 128)).astype(np.float32)
    assert np.abs(engine.run(first, second) - expected(module, first, second)).max() < 1e-5
    swapped = CoreMLTwin(Package.from_files(files), inputs=("context", "embedding_old"))
    assert np.array_equal(swapped.run(second, first), engine.run(first, second))


@pytest.mark.parametrize(
    ("precision", "ios", "cosine", "operation"),
    [
        ("fp32", 17, 0.999999, None),
        ("fp16", 16, 0.9999, "cast"),
        ("fp16", 18, 0.9999, "cast"),
        ("int8", 16, 0.999, "constexpr_affine_dequantize"),
        ("int8", 18, 0.999, "constexpr_blockwise_shift_scale"),
        ("int4", 18, 0.95, "constexpr_blockwise_shift_scale"),
        ("palette8", 16, 0.999, "constexpr_lut_to_dense"),
        ("palette6", 18, 0.995, "constexpr_lut_to_dense"),
        ("palette4", 17, 0.9, "constexpr_lut_to_dense"),
    ],
)
def test_every_precision_stays_near_pytorch_and_keeps_float32_inputs_and_outputs(
    small: nn.Module, images: NDArray[np.float32], precision: str, ios: int, cosine: float, operation: str | None
) -> None:
    files = convert(small, [IMAGE], Options(precision=precision, ios=ios), SHARED)  # type: ignore[arg-type]
    package = Package.from_files(files)
    assert package.spec.specificationVersion == ios - 9
    (given,), (made,) = package.spec.description.input, package.spec.description.output
    for port, name in ((given, "image"), (made, "embedding")):
        assert port.name == name
        assert port.type.multiArrayType.ArrayDataType.Name(port.type.multiArrayType.dataType) == "FLOAT32"
    (block,) = package.spec.mlProgram.functions["main"].block_specializations.values()
    assert operation is None or operation in {item.type for item in block.operations}
    parity = compare_embeddings(expected(small, images), CoreMLTwin(package).run(images))
    assert parity.worst_cosine > cosine
    full = sum(weight.numel() for weight in small.parameters()) * 4
    share = {"fp32": 1.1, "fp16": 0.55, "int8": 0.3, "int4": 0.2, "palette8": 0.4, "palette6": 0.3, "palette4": 0.2}
    assert sum(map(len, files.values())) < share[precision] * full + 60_000  # the program itself


def test_int4_falls_back_to_int8_where_input_channels_make_no_block() -> None:
    assert [to_coreml._block(channels) for channels in (64, 58, 24, 9, 116, 1, 7, 61)] == [
        32,
        29,
        24,
        9,
        29,
        None,
        None,
        None,
    ]


def test_a_fixed_batch_is_kept_and_fed_in_blocks(small: nn.Module, images: NDArray[np.float32]) -> None:
    package = Package.from_files(convert(small, [IMAGE], Options(batch=4)))
    assert Program(package).inputs["image"].lengths[0] == (4, 4)
    for n in (1, 4, 6):
        found = CoreMLTwin(package).run(images[:n])
        assert found.shape == (n, 16)
        assert np.abs(found - expected(small, images[:n])).max() < 1e-5


@pytest.mark.parametrize(
    ("std", "channels", "precision", "limit"),
    [
        ((0.25, 0.25, 0.25), "bgr", "fp32", 1e-5),
        ((0.229, 0.224, 0.225), "rgb", "fp32", 1e-5),
        ((0.2, 0.3, 0.4), "bgr", "fp16", 2e-3),
    ],
)
def test_a_picture_goes_in_as_it_is(
    small: nn.Module, std: tuple[float, float, float], channels: str, precision: str, limit: float
) -> None:
    preprocessing = Preprocessing(SIZE, mean=(0.485, 0.456, 0.406), std=std, channels=channels)  # type: ignore[arg-type]
    files = convert(small, [IMAGE], Options(precision=precision, pixels=preprocessing))  # type: ignore[arg-type]
    package = Package.from_files(files)
    image = package.spec.description.input[0].type.imageType
    assert (image.width, image.height) == (SIZE, SIZE)
    assert image.ColorSpace.Name(image.colorSpace) == channels.upper()
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    found = CoreMLTwin(package).run(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32))
    assert np.abs(found - expected(small, to_input(pixels, preprocessing))).max() < limit


def test_a_conversion_leaves_the_module_and_the_loggers_alone_is_silent_and_repeats(
    small: nn.Module, plain: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in small.state_dict().items()}
    logger, level = logging.getLogger("coremltools"), logging.getLogger("coremltools").level
    filters = list(logger.filters)
    shared = Shared()
    convert(small, [IMAGE], Options(precision="fp16"), shared)
    assert convert(small, [IMAGE], Options(), shared) == plain, "of one trace, which another precision had before"
    assert capfd.readouterr() == ("", "")
    assert (logger.filters, logger.level) == (filters, level)
    assert not small.training and small.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_in_silence_with_warnings_as_errors() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    code = "from tests.export.coreml_nets import digests; print(*digests(), sep='\\n')"
    command = [sys.executable, "-W", "error", "-c", code]
    child = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert child.returncode == 0, child.stderr
    # Other packages that it imports where they are installed may have their say.
    assert "coremltools" not in child.stderr and "Torch version" not in child.stderr
    assert child.stdout.splitlines() == digests()
    assert "palette4 model.mlpackage/Data" in child.stdout


def test_nothing_in_the_package_names_a_version_or_a_date(plain: dict[str, bytes]) -> None:
    assert len(plain) == 3
    description = plain["model.mlpackage/Data/com.apple.CoreML/model.mlmodel"]
    for trace in (b"coremltools", b"torch==", str(torch.__version__).encode(), b"conversion_date", b".py"):
        assert trace not in description
    manifest = plain["model.mlpackage/Manifest.json"].decode()
    assert hashlib.sha256(manifest.encode()).hexdigest() and manifest.count("com.apple.CoreML/") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(precision="int8-static", calibration=np.zeros((1, 3, SIZE, SIZE), np.float32)), "Apple's own engine"),
        (Options(precision="int4", ios=17), "int4 needs ios 18, found 17"),
        (Options(layout="nhwc"), "choose nchw"),
        (Options(pixels=Preprocessing(SIZE), batch=2), "pictures one at a time"),
        (Options(pixels=Preprocessing(SIZE + 1)), r"one input of shape \[3, 33, 33\]; found image \[3, 32, 32\]"),
    ],
)
def test_what_core_ml_cannot_do_is_refused_with_a_way_out(small: nn.Module, options: Options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(small, [IMAGE], options)


@pytest.mark.parametrize(("module", "package"), [("coremltools", "coremltools"), ("sklearn", "scikit-learn")])
def test_a_missing_package_names_its_extra(
    small: nn.Module, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == module else ModuleSpec(name, None)

    monkeypatch.setattr(quiet, "find_spec", find)
    monkeypatch.setattr(to_coreml, "find_spec", find)
    with pytest.raises(MissingExtraError, match=r"\[export-coreml\]") as caught:
        convert(small, [IMAGE], Options(precision="palette4"))
    assert caught.value.package == package


def test_a_long_embedding_does_not_overflow_at_fp16(small: nn.Module, images: NDArray[np.float32]) -> None:
    long = copy.deepcopy(small)
    with torch.no_grad():
        long.network.head.weight.mul_(3000)  # norms of some thousands: their squares are no float16
        assert long.network(torch.from_numpy(images)).norm(dim=1).min() > 300
    twin = CoreMLTwin(Package.from_files(convert(long, [IMAGE], Options(precision="fp16"))))
    parity = compare_embeddings(expected(long, images), twin.run(images))
    assert parity.worst_cosine > 0.9999
