"""Backbones: shapes at every size, gradients to every weight, and the details that the papers fix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compat_sdk.errors import ConfigError
from compat_train.models import ARCHITECTURES, build_model
from compat_train.models.channels import scale_channels
from compat_train.models.layers import ConvBN, fold_batch_norms, initialise
from compat_train.models.mobilenet_v1 import MobileNetV1
from compat_train.models.mobilenet_v2 import InvertedResidual
from compat_train.models.mobilenet_v3 import MobileNetV3
from compat_train.models.proxyless_mobile import ProxylessMobile
from compat_train.models.resnet import BasicBlock, Bottleneck, ResNet
from compat_train.models.shufflenet_v1 import PoolingUnit, ResidualUnit, ShuffleNetV1
from compat_train.models.shufflenet_v2 import ShuffleNetV2, interleave_channels
from compat_train.models.transform import ForwardTransform

NARROW = 0.25


@pytest.fixture(autouse=True)
def one_seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3", "shufflenet_v1", "global:plain:4:s3c3s5", "transform"])
def test_folding_batch_norms_leaves_the_function_and_no_batch_norm(arch: str) -> None:
    is_transform = arch == "transform"
    model = ForwardTransform(16, 16, 16, 32) if is_transform else build_model(arch, dim=16)
    inputs = (torch.randn(8, 16), torch.randn(8, 16)) if is_transform else (torch.randn(8, 3, 32, 32),)
    with torch.no_grad():
        for _ in range(20):
            model.train()(*inputs)
        before = model.eval()(*inputs)
        after = fold_batch_norms(model)(*inputs)
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in model.modules())
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("size", [28, 32, 64, 112])
def test_every_architecture_embeds_images_of_every_size(arch: str, size: int) -> None:
    model = build_model(arch, dim=16, width=NARROW).eval()
    with torch.no_grad():
        embeddings = model(torch.randn(1, 3, size, size))
    assert embeddings.shape == (1, 16)
    assert embeddings.isfinite().all()
    assert embeddings.norm() > 0


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_stem_stride_2_takes_224_pixels_and_the_smallest_images(arch: str) -> None:
    model = build_model(arch, dim=8, width=NARROW, stem_stride=2).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 224, 224)).shape == (1, 8)
        assert model(torch.randn(1, 3, 28, 28)).shape == (1, 8)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradient_reaches_every_parameter(arch: str) -> None:
    model = build_model(arch, dim=8, width=NARROW)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # A branch whose last gain is 0 would hide a missing connection.
            nn.init.ones_(module.weight)
    embeddings = model(torch.randn(4, 3, 32, 32))
    (embeddings * torch.randn_like(embeddings)).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights(arch: str) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build_model(arch, dim=4, width=NARROW).state_dict())
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_embedding_does_not_depend_on_the_rest_of_the_batch_or_the_memory_format(arch: str) -> None:
    model = build_model(arch, dim=8, width=NARROW).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
        last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together, last, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_width_scales_the_parameters_and_every_dim_is_possible(arch: str) -> None:
    def parameters(width: float, dim: int = 8) -> int:
        return sum(p.numel() for p in build_model(arch, dim=dim, width=width).parameters())

    assert parameters(0.1) < parameters(0.25) < parameters(0.5)
    assert build_model(arch, dim=1, width=0.1).eval()(torch.randn(1, 3, 28, 28)).shape == (1, 1)


@pytest.mark.parametrize(
    ("arch", "millions"),
    [
        ("resnet18", 11.69),
        ("resnet50", 25.56),
        ("mobilenet_v1", 4.23),
        ("mobilenet_v1_0.5", 1.33),
        ("mobilenet_v2", 3.50),
        ("mobilenet_v3", 5.48),
        ("proxyless_mobile", 4.08),
        ("shufflenet_v1", 1.53),
        ("shufflenet_v2", 2.28),
    ],
)
def test_with_1000_outputs_the_parameters_are_the_published_ones(arch: str, millions: float) -> None:
    model = build_model(arch, dim=1000)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("arch", ["mobilenet_v1", "mobilenet_v2"])
def test_a_name_with_0_5_is_the_network_at_half_width(arch: str) -> None:
    half, named = build_model(arch, width=0.5), build_model(f"{arch}_0.5")
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (half, named)]
    assert shapes[0] == shapes[1]


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"resnet19.*nearest: resnet18.*compat-sdk archs"):
        build_model("resnet19")


@pytest.mark.parametrize("settings", [{"dim": 0}, {"width": 0.0}, {"width": float("nan")}, {"stem_stride": 3}])
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build_model("resnet18", **settings)


def test_bottlenecks_stride_in_their_first_convolution_as_in_the_paper() -> None:
    convolutions = [layer for layer in Bottleneck(64, 32, 2).branch.modules() if isinstance(layer, nn.Conv2d)]
    assert [(layer.kernel_size, layer.stride) for layer in convolutions] == [
        ((1, 1), (2, 2)),
        ((3, 3), (1, 1)),
        ((1, 1), (1, 1)),
    ]


def test_a_zero_initialised_branch_leaves_the_shortcut_alone() -> None:
    features = torch.randn(2, 8, 7, 7)
    for zero in (True, False):
        model = ResNet(BasicBlock, (2, 1, 1, 1), width=0.125, zero_init_residual=zero)
        block = model.get_submodule("stages.0.1").eval()
        assert torch.equal(block(features), features.relu()) is zero


def _depthwise(model: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1]


def _silence(block: nn.Module) -> nn.Module:
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight)
    return block.eval()


def test_mobilenet_v1_strides_in_four_depthwise_convolutions_and_keeps_its_last_map() -> None:
    model = MobileNetV1(width=NARROW, stem_stride=2).eval()
    assert [conv.stride[0] for conv in _depthwise(model)] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    with torch.no_grad():
        assert model.features(torch.randn(1, 3, 224, 224)).shape == (1, 256, 7, 7)


@pytest.mark.parametrize(("channels_out", "stride", "residual"), [(16, 1, True), (16, 2, False), (24, 1, False)])
def test_inverted_residuals_add_their_input_only_where_the_shape_stays(
    channels_out: int, stride: int, residual: bool
) -> None:
    features = torch.randn(1, 16, 8, 8)
    for block in (
        InvertedResidual(16, channels_out, 6, stride),
        InvertedResidual(16, channels_out, kernel=7, expansion=3, stride=stride),
    ):
        output = _silence(block)(features)
        assert torch.equal(output, features) if residual else not output.any()


def test_proxyless_mobile_has_the_searched_kernels_and_expansions() -> None:
    blocks = [block for block in ProxylessMobile().modules() if isinstance(block, InvertedResidual)]
    convolutions = [_depthwise(block)[0] for block in blocks]
    kernels = "".join(str(conv.kernel_size[0]) for conv in convolutions)
    assert kernels == "3" + "53" + "7355" + "7555" + "5555" + "7777" + "7"
    inputs = [next(layer for layer in block.modules() if isinstance(layer, nn.Conv2d)).in_channels for block in blocks]
    expansions = "".join(str(conv.groups // channels) for conv, channels in zip(convolutions, inputs, strict=True))
    assert expansions == "1" + "33" + "3333" + "6333" + "6333" + "6633" + "6"
    # Each stage of the paper starts with a change of channels or a stride; every other block has a shortcut.
    assert [block.residual for block in blocks].count(False) == 7


def test_mobilenet_v3_has_eight_squeezes_and_uses_hard_activations() -> None:
    kinds = [type(module).__name__ for module in MobileNetV3(width=NARROW).modules()]
    assert kinds.count("SqueezeExcitation") == kinds.count("Hardsigmoid") == 8
    # Stem, last convolution and head, and two in nine blocks of the deeper half.
    assert kinds.count("Hardswish") == 3 + 2 * 9


def test_interleaving_is_concatenation_and_channel_shuffle() -> None:
    first, second = torch.randn(2, 6, 3, 5), torch.randn(2, 6, 3, 5)
    shuffled = nn.functional.channel_shuffle(torch.cat((first, second), 1), 2)
    assert torch.equal(interleave_channels(first, second), shuffled)


def test_shufflenet_v1_passes_its_input_on_pooled_or_as_it_is() -> None:
    features = torch.randn(2, 8, 7, 7)
    pooled = nn.functional.avg_pool2d(features, 3, stride=2, padding=1).relu()
    output = _silence(PoolingUnit(8, 20))(features)
    assert torch.equal(output, torch.cat((pooled, torch.zeros(2, 12, 4, 4)), 1))
    assert torch.equal(_silence(ResidualUnit(8))(features), features.relu())


@pytest.mark.parametrize(("width", "first"), [(1.0, 144), (0.5, 72), (0.25, 36), (0.1, 16)])
def test_shufflenet_v1_doubles_its_channels_and_filters_a_quarter_of_them(width: float, first: int) -> None:
    units = [
        unit for unit in ShuffleNetV1(width=width, dim=4).modules() if isinstance(unit, PoolingUnit | ResidualUnit)
    ]
    filtered = [_depthwise(unit)[0].groups for unit in units]
    assert filtered == [first // 4] * 4 + [first // 2] * 8 + [first] * 4


def test_shufflenet_v1_has_channels_left_to_fill_at_the_smallest_width() -> None:
    model = ShuffleNetV1(width=1e-3, dim=4).eval()
    assert model(torch.randn(1, 3, 28, 28)).shape == (1, 4)


def test_shufflenet_v2_takes_the_published_channels_at_the_published_widths() -> None:
    last = {width: ShuffleNetV2(width=width, dim=4).get_submodule("features.18.0") for width in (0.5, 1.0, 2.0)}
    channels = {width: (conv.in_channels, conv.out_channels) for width, conv in last.items()}
    assert channels == {0.5: (192, 1024), 1.0: (464, 1024), 2.0: (976, 2048)}


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(64, 1.0, 64), (64, 0.5, 32), (24, 0.5, 16), (16, 0.01, 8), (72, 0.25, 24), (100, 0.25, 24), (44, 0.25, 16)],
)
def test_channels_round_to_multiples_of_8_and_never_far_down(channels: int, width: float, expected: int) -> None:
    assert scale_channels(channels, width) == expected


def test_depthwise_kernels_start_at_the_scale_of_one_group() -> None:
    conv = nn.Conv2d(4096, 4096, 3, groups=4096)
    initialise(conv)
    assert conv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.02)
    assert conv.bias is not None and not conv.bias.any()


@pytest.mark.parametrize(
    "arch", ["mobilenet_v1", "mobilenet_v3", "proxyless_mobile", "shufflenet_v1", "shufflenet_v2", "resnet18"]
)
def test_the_exported_graph_asks_for_no_shape(arch: str) -> None:
    model = build_model(arch, dim=8, width=NARROW).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in operators if "sym_size" in name or "aten.item" in name or "view" in name]


def test_a_narrow_shortcut_is_trained_by_another_kernel_and_is_the_same_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    layer = ConvBN(4, 8, stride=2, activation=None)[0]
    images = torch.randn(2, 4, 7, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    strides: list[object] = []
    real = torch.nn.functional.conv2d

    def watch(
        input: torch.Tensor, weight: torch.Tensor, bias: object, stride: object = 1, *rest: object
    ) -> torch.Tensor:
        strides.append(stride)
        return real(input, weight, bias, stride, *rest)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("torch.nn.functional.conv2d", watch)
    trained = layer.train()(images)
    (gradient,) = torch.autograd.grad(trained.square().sum(), images)
    expected = layer.eval()(images)
    assert strides == [1, (2, 2)]
    torch.testing.assert_close(trained, expected)
    assert gradient[:, :, 1::2].eq(0).all() and gradient[:, :, ::2, ::2].ne(0).all()
    assert list(layer.state_dict()) == ["weight"]
