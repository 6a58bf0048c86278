"""The shapes and costs of upgrade transforms."""

from __future__ import annotations

import torch
from torch import nn

from compat_train.models.transform import ForwardAdaptation, ForwardTransform


def multiply_adds(model: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))


def test_the_transform_of_fct_has_the_published_size() -> None:
    model = ForwardTransform()
    assert multiply_adds(model) == 5_701_632  # 5.70 M at 128 numbers each
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 5.71


def test_the_adaptation_of_dmu_has_the_published_size() -> None:
    assert multiply_adds(ForwardAdaptation()) == 4 * 1024**2  # 4.19 M; the paper's "8M" counts two per multiply-add


def test_widths_may_differ_and_the_output_is_the_new_models() -> None:
    transform = ForwardTransform(old=16, side=8, new=24, hidden=32).eval()
    assert transform(torch.zeros(3, 16), torch.zeros(3, 8)).shape == (3, 24)
    assert ForwardAdaptation(old=16, new=24, hidden=32).eval()(torch.zeros(3, 16)).shape == (3, 24)


def test_side_information_reaches_the_result() -> None:
    torch.manual_seed(0)
    transform = ForwardTransform(old=16, side=8, new=24, hidden=32).eval()
    old = torch.randn(3, 16)
    assert not torch.equal(transform(old, torch.zeros(3, 8)), transform(old, torch.ones(3, 8)))
