"""The closed-form start: the regression itself, and what it does to a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_train.methods.ridge import ridge_regression, start_by_ridge
from compat_train.models.build import ARCHITECTURES, build_model
from compat_train.models.last_layer import last_linear

SIZE = Preprocessing(size=28)
CPU = torch.device("cpu")


def rows(count: int, features: int, dim: int, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64) * 3 + 1
    weight = torch.randn(dim, features, generator=generator, dtype=torch.float64)
    return x, x @ weight.T - 2 + noise * torch.randn(count, dim, generator=generator, dtype=torch.float64), weight


def test_a_linear_relation_without_noise_is_found_with_its_constant() -> None:
    x, y, weight = rows(60, 5, 3, 0.0)
    found = ridge_regression(x, y)
    assert torch.allclose(found.weight, weight, atol=1e-5)
    assert torch.allclose(found.bias, torch.full((3,), -2.0, dtype=torch.float64), atol=1e-4)
    assert found.shrinkage == pytest.approx(1e-8)


def test_it_is_the_solution_of_the_normal_equations_for_the_lambda_it_chose() -> None:
    x, y, _ = rows(30, 6, 2, 20.0)
    found = ridge_regression(x, y)
    xc, yc = x - x.mean(0), y - y.mean(0)
    covariance = xc.T @ xc / 30
    strength = found.shrinkage * covariance.diagonal().mean()
    expected = torch.linalg.solve(covariance + strength * torch.eye(6, dtype=torch.float64), xc.T @ yc / 30)
    assert torch.allclose(found.weight, expected.T, atol=1e-8)
    assert torch.allclose(x.mean(0) @ found.weight.T + found.bias, y.mean(0))


def test_lambda_is_the_one_whose_cross_validation_score_is_least() -> None:
    x, y, _ = rows(25, 8, 2, 30.0)
    found = ridge_regression(x, y)
    xc, yc = x - x.mean(0), y - y.mean(0)
    unit = float((xc.T @ xc / 25).diagonal().mean())

    def score(share: float) -> float:
        # With the hat matrix, as the paper has it; the constant is one degree of freedom more.
        hat = xc @ torch.linalg.solve(xc.T @ xc + 25 * share * unit * torch.eye(8, dtype=torch.float64), xc.T)
        residual = (yc - hat @ yc).square().sum() / 25
        return float(residual / (1 - (1 + hat.trace()) / 25) ** 2)

    grid = torch.logspace(-8, 2, 41, dtype=torch.float64).tolist()
    assert found.shrinkage == pytest.approx(min(grid, key=score))
    assert found.shrinkage > 1e-3  # noise is shrunk away


@pytest.mark.parametrize("count", [2, 4])
def test_fewer_images_than_features_and_features_that_are_always_zero_are_no_hindrance(count: int) -> None:
    x, y, _ = rows(count, 8, 3, 1.0)
    x[:, 2] = 0.0
    found = ridge_regression(x, y)
    assert torch.isfinite(found.weight).all() and torch.isfinite(found.bias).all()
    assert torch.allclose(found.weight[:, 2], torch.zeros(3, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "global:plain:1:s3s3s3"])
def test_every_network_names_the_layer_that_writes_its_embedding(arch: str) -> None:
    network = build_model(arch, dim=7, width=1.0 if ":" in arch else 0.0625)
    last = last_linear(network)
    assert last.out_features == 7
    assert [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1] is last


def test_a_network_without_such_a_layer_is_refused() -> None:
    with pytest.raises(TrainingError, match="does not end in a linear layer named head"):
        last_linear(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


def test_the_last_layer_becomes_the_regression_from_what_goes_into_it() -> None:
    torch.manual_seed(0)
    network = build_model("resnet18", dim=4, width=0.0625)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (20, 28, 28, 3), np.uint8)
    images = np.arange(19, 3, -1)
    targets = torch.randn(16, 4)
    body = {name: value.clone() for name, value in network.named_parameters() if not name.startswith("head")}
    network.train()
    found = start_by_ridge(network, pixels, images, targets, SIZE, CPU)
    assert network.training
    assert all(torch.equal(value, body[name]) for name, value in network.named_parameters() if name in body)
    assert torch.equal(last_linear(network).weight, found.weight.float())
    # A fresh network's batch norms took the statistics of these images: in eval mode they are in use already.
    assert all(
        layer.num_batches_tracked == 1 and layer.momentum == 0.1
        for layer in network.modules()
        if isinstance(layer, nn.BatchNorm2d)
    )
    features: list[Tensor] = []
    last_linear(network).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    from compat_train.embed import input_tensor

    with torch.no_grad():
        network.eval()(input_tensor(torch.from_numpy(pixels[images]), SIZE))
    again = ridge_regression(features[0], targets)
    assert again.shrinkage == found.shrinkage and torch.allclose(again.weight, found.weight, rtol=1e-3, atol=1e-4)


def test_a_trained_networks_batch_norms_keep_their_statistics() -> None:
    network = build_model("resnet18", dim=4, width=0.0625)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 28, 28, 3), np.uint8)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 28, 28))
    before = {name: value.clone() for name, value in network.named_buffers()}
    start_by_ridge(network, pixels, np.arange(8), torch.randn(8, 4), SIZE, CPU)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_statistics_from_a_file_without_counters_are_kept() -> None:
    network = build_model("shufflenet_v2", dim=4, width=0.25)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.fill_(0.1)  # type: ignore[union-attr, operator]
    assert all(norm.num_batches_tracked == 0 for norm in norms)  # as safetensors of a hub leave them
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    start_by_ridge(network, pixels, np.arange(8), torch.randn(8, 4), SIZE, CPU)
    assert all(bool((norm.running_mean == 0.1).all()) for norm in norms)  # type: ignore[union-attr]
