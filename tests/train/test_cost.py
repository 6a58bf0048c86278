"""Costs: the figures of the papers, one layer by hand, and a model left as it was found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compat_sdk.errors import ConfigError
from compat_train.models import build_model, count_cost, per_layer


# Multiply-adds in millions without and with batch norms, at 112 pixels with stem stride 1, counted apart from
# this code. ResNet-101 with its embedding, the small networks with the 1000-way classifiers of their papers.
@pytest.mark.parametrize(
    ("arch", "dim", "mmacs", "mmacs_paper"),
    [
        ("resnet101", 128, 7568.4, 7599.8),
        ("mobilenet_v1", 1000, 568.7, 578.8),
        ("mobilenet_v1_0.5", 1000, 149.5, 154.5),
        ("mobilenet_v3", 1000, 216.6, 225.4),
        ("proxyless_mobile", 1000, 320.4, 331.2),
        ("shufflenet_v1", 1000, 143.1, 146.9),
        ("shufflenet_v2", 1000, 144.9, 148.8),
        ("mobilenet_v2", 1000, 300.8, 314.1),
        ("mobilenet_v2_0.5", 1000, 97.1, 104.4),
    ],
)
def test_the_costs_of_the_papers_come_out(arch: str, dim: int, mmacs: float, mmacs_paper: float) -> None:
    cost = count_cost(build_model(arch, dim=dim), 112)
    assert cost.mmacs == pytest.approx(mmacs, rel=1e-3)
    assert cost.mmacs_paper == pytest.approx(mmacs_paper, rel=1e-3)


@pytest.mark.parametrize(
    ("arch", "inputs_of_the_head"),
    [
        ("mobilenet_v1", 1024),
        ("mobilenet_v1_0.5", 512),
        ("mobilenet_v2", 1280),
        ("mobilenet_v2_0.5", 1280),
        ("mobilenet_v3", 1280),
        ("proxyless_mobile", 1280),
        ("shufflenet_v1", 576),
        ("shufflenet_v2", 1024),
    ],
)
def test_an_embedding_of_128_costs_872_rows_of_the_head_less(arch: str, inputs_of_the_head: int) -> None:
    wide, narrow = (count_cost(build_model(arch, dim=dim), 112) for dim in (1000, 128))
    assert wide.mmacs - narrow.mmacs == pytest.approx(872 * inputs_of_the_head / 1e6)
    assert wide.params_m - narrow.params_m == pytest.approx(872 * (inputs_of_the_head + 1) / 1e6)


# The third column is the share by which the table may differ: it counts pools too, and of those the first
# ShuffleNet has the most.
@pytest.mark.parametrize(
    ("arch", "table", "share"),
    [
        ("resnet101", 7597, 3e-3),
        ("mobilenet_v1", 579, 3e-3),
        ("mobilenet_v1_0.5", 155, 3e-3),
        ("mobilenet_v3", 226, 3e-3),
        ("proxyless_mobile", 332, 3e-3),
        ("shufflenet_v1", 148, 8e-3),
        ("shufflenet_v2", 149, 3e-3),
    ],
)
def test_table_5_of_the_search_paper_counts_batch_norms(arch: str, table: float, share: float) -> None:
    dim = 128 if arch.startswith("resnet") else 1000
    assert count_cost(build_model(arch, dim=dim), 112).mmacs_paper == pytest.approx(table, rel=share)


@pytest.mark.parametrize("arch", ["mobilenet_v1", "proxyless_mobile", "shufflenet_v1", "shufflenet_v2"])
def test_112_pixels_with_stem_stride_1_cost_what_224_with_2_do(arch: str) -> None:
    small = count_cost(build_model(arch, stem_stride=1), 112)
    assert count_cost(build_model(arch, stem_stride=2), 224) == small


def test_stem_stride_2_at_112_pixels_costs_about_a_quarter() -> None:
    assert count_cost(build_model("resnet101", stem_stride=2), 112).mmacs == pytest.approx(1948, rel=1e-3)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 5)
        self.unused = nn.Linear(1000, 1000)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.grouped(images)).mean((2, 3))
        return self.linear(features) + self.linear(features)


def test_a_toy_counts_as_by_hand() -> None:
    rows = per_layer(Toy(), 8)
    assert [(row.name, row.kind, row.output_shape) for row in rows] == [
        ("grouped", "convolution", (6, 4, 4)),
        ("norm", "batch norm", (6, 4, 4)),
        ("linear", "linear", (5,)),
        ("linear", "linear", (5,)),
    ]
    assert [row.mmacs * 1e6 for row in rows] == pytest.approx([6 * 16 * 9, 0, 30, 30])
    assert [row.mmacs_paper * 1e6 for row in rows] == pytest.approx([6 * 16 * 9, 2 * 6 * 16, 30, 30])


class WindowAttention(nn.Module):
    """Attends within each quarter of the image; the quarters stand in the batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(3, 3 * 5)

    def forward(self, images: Tensor) -> Tensor:
        windows = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).reshape(-1, 16, 3)
        query, key, value = self.projection(windows).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(query, key, value) @ images.new_ones(5, 2)


def test_windows_in_the_batch_axis_and_products_outside_layers_count_as_by_hand() -> None:
    projection, others = per_layer(WindowAttention(), 8)
    assert (projection.name, projection.output_shape) == ("projection", (4, 16, 15))
    assert projection.mmacs * 1e6 == pytest.approx(4 * 16 * 3 * 15)
    assert (others.name, others.kind, others.output_shape) == ("", "function", ())
    assert others.mmacs * 1e6 == others.mmacs_paper * 1e6 == pytest.approx(4 * (2 * 16 * 16 * 5 + 16 * 5 * 2))
    assert count_cost(WindowAttention(), 8).mmacs * 1e6 == pytest.approx(4 * (720 + 2560 + 160))


class Attention(nn.Module):
    """Attends over the pixels, whose channels are repeated to 24 numbers each."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2).transpose(1, 2).repeat(1, 1, 8)
        if self.inner is None:
            return nn.functional.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None])
        if isinstance(self.inner, nn.MultiheadAttention):
            return self.inner(tokens, tokens, tokens, need_weights=False)[0]
        return self.inner(tokens)


def test_the_products_of_an_attention_count_whichever_kernel_would_run_them() -> None:
    products, projections, layers = 2 * 64 * 64 * 24, 4 * 64 * 24 * 24, 2 * 64 * 24 * 48
    assert count_cost(Attention(), 8).mmacs * 1e6 == pytest.approx(products)
    of_torch = nn.MultiheadAttention(24, 4, batch_first=True)
    encoder = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True)
    for inner, expected in ((of_torch, products + projections), (encoder, products + projections + layers)):
        cost = count_cost(Attention(inner), 8)
        assert cost.mmacs * 1e6 == pytest.approx(expected)
        assert cost.params_m * 1e6 == pytest.approx(sum(parameter.numel() for parameter in inner.parameters()))
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_unused_layer_costs_neither_multiply_adds_nor_parameters() -> None:
    cost = count_cost(Toy(), 8)
    assert cost.mmacs * 1e6 == pytest.approx(864 + 60)
    assert cost.params_m * 1e6 == pytest.approx((6 * 9 + 6) + 12 + 35)


def test_the_rows_sum_to_the_cost() -> None:
    model = build_model("mobilenet_v3", width=0.25)
    rows, cost = per_layer(model, 32), count_cost(model, 32)
    assert sum(row.mmacs for row in rows) == pytest.approx(cost.mmacs)
    assert sum(row.mmacs_paper for row in rows) == pytest.approx(cost.mmacs_paper)
    assert cost.params_m == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6)


def test_counting_leaves_modes_hooks_statistics_and_gradients_alone() -> None:
    model = build_model("resnet18", width=0.125)
    frozen = model.get_submodule("stem.0.1").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_cost(model, 32)
    assert model.training and not frozen.training
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_failing_forward_pass_leaves_no_hooks_behind() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(999, 2))
    with pytest.raises(RuntimeError):
        count_cost(model, 8)
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())


def test_a_size_below_1_is_refused() -> None:
    with pytest.raises(ConfigError, match="size is 0"):
        count_cost(nn.Identity(), 0)


def test_mobilenet_v2_would_cost_328_with_an_expansion_in_its_first_block() -> None:
    # The network of the catalogue that table 5 quotes has one there (see count_cost): hence its 329.
    pixels, channels = 112 * 112, 32
    expansion = pixels * channels * channels + 2 * pixels * channels
    cost = count_cost(build_model("mobilenet_v2", dim=1000), 112)
    assert cost.mmacs_paper + expansion / 1e6 == pytest.approx(327.8, rel=1e-3)
