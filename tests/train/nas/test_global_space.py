"""The space of a global search: published figures, names, costs, and what the built networks do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from compat_sdk.errors import ConfigError
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.global_cost import held, mmacs, parameters
from compat_train.models.global_names import global_named
from compat_train.models.global_network import GlobalNetwork, ResidualPair
from compat_train.models.global_space import Bounds, GlobalMember, Layer, random_member

SEPARABLE, CONV, WIDE = Layer(), Layer("conv"), Layer(kernel=5)


@pytest.fixture(autouse=True)
def one_seed() -> None:
    torch.manual_seed(0)


def network(width: int, depth: int, conv: tuple[int, ...] = (), wide: tuple[int, ...] = ()) -> GlobalMember:
    layers = [Layer("conv" if at in conv else "separable", 5 if at in wide else 3) for at in range(depth)]
    return GlobalMember(width=width, layers=tuple(layers))


@pytest.mark.parametrize(
    ("member", "classes", "image_channels", "published"),
    [
        (network(46, 26, conv=(0, 2), wide=(13, 17)), 10, 3, 466_312),  # CIFAR-10, tiny
        (network(56, 21, wide=(3,)), 100, 3, 488_588),  # CIFAR-100, tiny
        (network(50, 17, conv=(1, 4, 5), wide=(11, 13)), 47, 1, 405_647),  # EMNIST, tiny
        (network(50, 18, conv=(2, 10), wide=(17,)), 10, 1, 419_660),  # KMNIST, tiny
        (network(54, 18, conv=(1, 5, 9), wide=(8,)), 10, 1, 508_258),  # Fashion-MNIST, tiny
        (network(120, 16, conv=(1, 2, 4, 8, 11, 15), wide=(6, 12)), 10, 1, 6_159_850),  # Fashion-MNIST, mobile
        (network(64, 10), 10, 1, 307_146),  # where the search on Fashion-MNIST starts
    ],
)
def test_the_parameters_are_those_in_the_authors_logs(
    member: GlobalMember, classes: int, image_channels: int, published: int
) -> None:
    # The authors' last layer puts out classes. Grey images have one channel there, and three equal ones here.
    grey = 9 * member.stem * (3 - image_channels)
    assert parameters(member, dim=classes) - grey == published


def test_eq_1_counts_the_papers_example() -> None:
    bounds = Bounds(min_depth=5, max_depth=100, min_width=16, max_width=128)
    assert (len(bounds.depths), len(bounds.widths)) == (96, 57)
    assert bounds.members(25) == pytest.approx(6.16e18, rel=1e-3)


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize(("stages", "size", "stem_stride"), [(3, 28, 1), (2, 33, 1), (4, 33, 2)])
def test_the_closed_forms_agree_with_counting_the_built_network(
    kind: str, stages: int, size: int, stem_stride: int
) -> None:
    bounds = Bounds(kind=kind, stages=stages, min_depth=8, max_depth=15, min_width=3, max_width=8, width_step=1)  # type: ignore[arg-type]
    generator = np.random.default_rng(stages)
    for _ in range(6):
        member = random_member(bounds, generator)
        built = build_model(member.name, dim=7, stem_stride=stem_stride)
        counted = count_cost(built, size)
        assert parameters(member, 7) == sum(weight.numel() for weight in built.parameters())
        assert parameters(member, 7) == round(1e6 * counted.params_m)
        assert mmacs(member, size, 7, stem_stride) == pytest.approx(counted.mmacs, abs=1e-9)


def test_later_stages_take_the_layers_that_are_left_over_and_channels_double_where_sides_halve() -> None:
    member = network(8, 11)
    assert member.widths == (8,) * 3 + (16,) * 4 + (32,) * 4
    assert [at for at, shape in enumerate(member.shapes) if shape.stride == 2] == [3, 7]
    assert member.shapes[0].channels_in == member.stem == 16


def test_the_shortcuts_of_a_residual_network_project_where_the_shape_changes_only() -> None:
    member = GlobalMember(kind="residual", width=4, layers=(SEPARABLE, CONV) * 4)
    built = build_model(member.name, dim=8)
    assert isinstance(built, GlobalNetwork)
    shortcuts = [block.shortcut for block in built.layers if isinstance(block, ResidualPair)]
    assert [isinstance(shortcut, nn.Identity) for shortcut in shortcuts] == [True, False, False, True]
    assert member.stem == 4 and member.widths == (4, 4, 8, 8, 16, 16, 16, 16)


def test_an_untrained_residual_block_passes_its_input_on() -> None:
    built = build_model("global:residual:4:s3c5s3c3s5s5")
    assert isinstance(built, GlobalNetwork)
    features = torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(built.layers[0].eval()(features), features)


def test_kernels_and_operations_are_what_the_name_says() -> None:
    built = build_model("global:plain:4:s3c5s5", dim=8)
    convolutions = [module for module in built.modules() if isinstance(module, nn.Conv2d)]
    found = [(conv.kernel_size[0], conv.groups, conv.in_channels, conv.out_channels) for conv in convolutions]
    assert found == [(3, 1, 3, 8), (3, 8, 8, 8), (1, 1, 8, 4), (5, 1, 4, 8), (5, 8, 8, 8), (1, 1, 8, 16)]
    assert [conv.stride[0] for conv in convolutions] == [1, 1, 1, 2, 2, 1]


@pytest.mark.parametrize("arch", ["global:plain:4:s3c5s5c3", "global:residual,stages=2:4:s3c5s5c3"])
def test_gradient_reaches_every_weight_and_images_of_any_side_fit(arch: str) -> None:
    model = build_model(arch, dim=8, stem_stride=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # a branch whose last gain is 0 would hide a missing connection
    embeddings = model(torch.randn(4, 3, 28, 28))
    assert embeddings.shape == (4, 8)
    (embeddings * torch.randn_like(embeddings)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())
    assert model.eval()(torch.randn(1, 3, 57, 57)).shape == (1, 8)


def test_a_member_and_its_name_give_each_other() -> None:
    generator = np.random.default_rng(1)
    for bounds in (Bounds(), Bounds(kind="residual", min_depth=6, stages=3), Bounds(stages=4)):
        for _ in range(5):
            member = random_member(bounds, generator)
            assert global_named(member.name) == member
    assert GlobalMember(width=54, layers=(SEPARABLE, WIDE, CONV)).name == "global:plain:54:s3s5c3"
    assert GlobalMember(width=54, stages=2, layers=(SEPARABLE, CONV)).name == "global:plain,stages=2:54:s3c3"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("global:plain:54", "expected global:KIND:WIDTH:LAYERS"),
        ("global:plain:wide:s3s3s3", "expected global:KIND:WIDTH:LAYERS"),
        ("global:plain:0:s3s3s3", "expected global:KIND:WIDTH:LAYERS"),
        ("global:plain:8:s3d3s3", "has layers d; expected s"),
        ("global:plain:8:s3s9s3", "kernel is 9; expected 3, 5 or 7"),
        ("global:plain:8:s3s3", "has 2 layers; expected at least 3"),
        ("global:residual:8:s3s3s3s3s3s3s3", "has 7 layers; expected at least 6, and an even number"),
        ("global:dense:8:s3s3s3", "expected one of plain, residual"),
        ("global:plain,stages=9:8:s3s3s3s3s3s3s3s3s3", "stages is 9"),
        ("global:plain:9999:s3s3s3", "width is 9999"),
    ],
)
def test_a_malformed_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_model(name)


def test_a_member_takes_no_width_factor() -> None:
    with pytest.raises(ConfigError, match="leave width out"):
        build_model("global:plain:8:s3s3s3", width=0.5)


def test_an_unknown_architecture_names_this_space_too() -> None:
    with pytest.raises(ConfigError, match="global:"):
        build_model("resnet19")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"min_depth": 2}, "min_depth is 2; expected at least 3"),
        ({"max_depth": 9}, "max_depth is 9; expected at least 10"),
        ({"min_width": 0}, "min_width"),
        ({"max_width": 8}, "max_width is 8; expected at least 16"),
        ({"max_width": 5000}, "max_width is 5000; expected at least 16 and at most 4096"),
        ({"width_step": 0}, "width_step"),
        ({"kernel": 4}, "^kernel is 4; expected 3, 5 or 7"),
        ({"operation": "pool"}, "^operation is 'pool'"),
        ({"kind": "dense"}, "kind"),
        ({"stages": 0}, "stages"),
        ({"kind": "residual", "min_depth": 11}, "even number"),
    ],
)
def test_bounds_without_networks_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Bounds(**changes)  # type: ignore[arg-type]


def test_bounds_list_depths_upwards_and_widths_downwards_to_the_last_that_fits() -> None:
    assert Bounds(min_depth=5, max_depth=7, min_width=3, max_width=8).depths == (5, 6, 7)
    assert Bounds(min_depth=5, max_depth=7, min_width=3, max_width=8).widths == (8, 6, 4)
    assert Bounds(kind="residual", min_depth=6, max_depth=11).depths == (6, 8, 10)


def test_random_members_cover_the_bounds_and_nothing_else() -> None:
    bounds = Bounds(min_depth=3, max_depth=5, min_width=4, max_width=8)
    generator = np.random.default_rng(2)
    drawn = [random_member(bounds, generator) for _ in range(200)]
    assert {member.depth for member in drawn} == {3, 4, 5}
    assert {member.width for member in drawn} == {4, 6, 8}
    assert {layer for member in drawn for layer in member.layers} == {SEPARABLE, CONV, WIDE, Layer("conv", 5)}
    again = np.random.default_rng(2)
    assert [random_member(bounds, again) for _ in range(3)] == drawn[:3]


def test_holding_gives_the_network_whose_parameters_are_nearest_to_the_baselines() -> None:
    baseline = network(54, 18)
    limit = parameters(baseline, 10)
    assert held(baseline, limit, 10) == baseline
    costlier = network(54, 18, conv=(1, 5, 9), wide=(8,))
    found = held(costlier, limit, 10)
    assert found.layers == costlier.layers and found.width < 54
    apart = abs(parameters(found, 10) - limit)
    for width in (found.width - 1, found.width + 1):
        assert apart < abs(parameters(replace(found, width=width), 10) - limit)
    assert apart / limit < 0.03
    # One kernel of 5 among 18 layers adds 2 %, and a channel less takes away more.
    assert held(network(54, 18, wide=(8,)), limit, 10).width == 54
    assert held(costlier, 1, 10).width == 1
