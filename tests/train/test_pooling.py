"""Generalised-mean pooling, and the transformer of DMU."""

from __future__ import annotations

import sys

import pytest
import torch

from compat_sdk.errors import ConfigError, MissingExtraError
from compat_train.models import build_model, count_cost
from compat_train.models.layers import GeneralisedMeanPool, GlobalAveragePool
from tests.timm_here import make_timm_loadable, needs_timm

make_timm_loadable()


def test_the_generalised_mean_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]], [[[5.0, 5.0], [5.0, 5.0]]]])
    found = GeneralisedMeanPool()(features)
    assert found.flatten().tolist() == pytest.approx([(36 / 4) ** (1 / 3), 5.0], rel=1e-6)


def test_the_generalised_mean_equals_the_formula_and_has_its_gradient() -> None:
    features = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 7
    ours, plain = features.clone().requires_grad_(), features.clone().requires_grad_()
    formula = plain.pow(3).mean((2, 3)).pow(1 / 3)
    found = GeneralisedMeanPool()(ours)
    assert torch.allclose(found, formula)
    weights = torch.arange(12.0, dtype=torch.float64).view(3, 4)
    (found * weights).sum().backward()
    (formula * weights).sum().backward()
    assert ours.grad is not None and plain.grad is not None and torch.allclose(ours.grad, plain.grad)


def test_it_lies_between_the_mean_and_the_maximum() -> None:
    features = torch.rand(2, 8, 7, 7, generator=torch.Generator().manual_seed(1))
    found = GeneralisedMeanPool()(features)
    assert (found >= GlobalAveragePool()(features)).all() and (found <= features.amax((2, 3))).all()


def test_a_dead_channel_and_negative_features_have_a_value_and_a_gradient() -> None:
    features = torch.tensor([[[[0.0, 0.0]], [[-3.0, -1.0]], [[-2.0, 4.0]]]], requires_grad=True)
    found = GeneralisedMeanPool()(features)
    assert found[0].tolist() == pytest.approx([1e-5, 1e-5, (64 / 2) ** (1 / 3)], rel=1e-4)
    found.sum().backward()
    assert features.grad is not None and torch.isfinite(features.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-2, 1.0, 500.0])
def test_half_precision_neither_overflows_nor_vanishes(dtype: torch.dtype, size: float) -> None:
    features = size * torch.rand(2, 4, 28, 28, generator=torch.Generator().manual_seed(2))
    exact = GeneralisedMeanPool()(features)
    found = GeneralisedMeanPool()(features.to(dtype)).float()
    assert torch.allclose(found, exact, rtol=0.02)


def test_a_resnet_pools_as_its_name_says_and_keeps_its_parameters() -> None:
    plain, gem = (build_model(name, width=0.125, dim=8) for name in ("resnet18", "resnet18_gem"))
    assert isinstance(plain.pool, GlobalAveragePool) and isinstance(gem.pool, GeneralisedMeanPool)
    assert plain.state_dict().keys() == gem.state_dict().keys()
    assert isinstance(build_model("resnet50_pruned0.5_gem", width=0.125, dim=8).pool, GeneralisedMeanPool)


@pytest.mark.parametrize("name", ["mobilenet_v2_gem", "resnet18_gem_gem", "resnet34_gem"])
def test_another_network_with_that_pool_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"<resnet>_gem"):
        build_model(name)


def test_without_timm_the_transformer_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.models.swin_transformer", None)
    with pytest.raises(MissingExtraError, match=r"\[timm\]"):
        build_model("swin_tiny")


@needs_timm
@pytest.mark.parametrize("name", ["swin_tiny", "swin_tiny_gem"])
@pytest.mark.parametrize("side", [28, 64])
def test_the_transformer_maps_images_of_any_side_to_embeddings(name: str, side: int) -> None:
    model = build_model(name, width=0.25, dim=16)
    found = model(torch.rand(2, 3, side, side))
    assert found.shape == (2, 16)
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    with torch.inference_mode():
        images = torch.rand(3, 3, side, side)
        assert torch.allclose(model(images)[1:2], model(images[1:2]), atol=1e-5)


@needs_timm
def test_the_transformer_has_the_papers_28_million_parameters_without_its_classifier() -> None:
    model = build_model("swin_tiny", dim=1024)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(28.3, abs=0.1)


@needs_timm
def test_the_transformer_costs_the_papers_multiply_adds() -> None:
    assert count_cost(build_model("swin_tiny", stem_stride=2), 224).mmacs == pytest.approx(4500, rel=5e-3)
