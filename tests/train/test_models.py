"""Backbones: shapes at every size, gradients to every weight, and the details that the papers fix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compat_sdk.errors import ConfigError
from compat_train.models import ARCHITECTURES, build_model
from compat_train.models.layers import initialise, scale_channels
from compat_train.models.mobilenet_v2 import InvertedResidual
from compat_train.models.mobilenet_v3 import MobileNetV3
from compat_train.models.resnet import BasicBlock, Bottleneck, ResNet
from compat_train.models.shufflenet_v2 import ShuffleNetV2, interleave_channels

NARROW = 0.25


@pytest.fixture(autouse=True)
def one_thread_and_a_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


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
    [("resnet18", 11.69), ("resnet50", 25.56), ("mobilenet_v2", 3.50), ("mobilenet_v3", 5.48), ("shufflenet_v2", 2.28)],
)
def test_with_1000_outputs_the_parameters_are_the_published_ones(arch: str, millions: float) -> None:
    model = build_model(arch, dim=1000)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_mobilenet_v2_0_5_is_mobilenet_v2_at_half_width() -> None:
    half, named = build_model("mobilenet_v2", width=0.5), build_model("mobilenet_v2_0.5")
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (half, named)]
    assert shapes[0] == shapes[1]


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"resnet19.*resnet18.*shufflenet_v2"):
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


def test_mobilenet_v2_adds_its_input_only_where_the_shape_stays() -> None:
    features = torch.randn(1, 16, 8, 8)
    for channels_out, stride, residual in ((16, 1, True), (16, 2, False), (24, 1, False)):
        block = InvertedResidual(16, channels_out, 6, stride).eval()
        for layer in block.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.zeros_(layer.weight)
        assert torch.equal(block(features), features) if residual else not block(features).any()


def test_mobilenet_v3_has_eight_squeezes_and_uses_hard_activations() -> None:
    kinds = [type(module).__name__ for module in MobileNetV3(width=NARROW).modules()]
    assert kinds.count("SqueezeExcitation") == kinds.count("Hardsigmoid") == 8
    # Stem, last convolution and head, and two in nine blocks of the deeper half.
    assert kinds.count("Hardswish") == 3 + 2 * 9


def test_interleaving_is_concatenation_and_channel_shuffle() -> None:
    first, second = torch.randn(2, 6, 3, 5), torch.randn(2, 6, 3, 5)
    shuffled = nn.functional.channel_shuffle(torch.cat((first, second), 1), 2)
    assert torch.equal(interleave_channels(first, second), shuffled)


def test_shufflenet_takes_the_published_channels_at_the_published_widths() -> None:
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


@pytest.mark.parametrize("arch", ["mobilenet_v3", "shufflenet_v2", "resnet18"])
def test_the_exported_graph_asks_for_no_shape(arch: str) -> None:
    model = build_model(arch, dim=8, width=NARROW).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in operators if "sym_size" in name or "aten.item" in name or "view" in name]
