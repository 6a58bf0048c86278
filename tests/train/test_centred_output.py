"""From a network trained on centred targets to one whose vectors lie in the gallery's cone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_train.embed import input_tensor
from compat_train.losses.centred import mean_vector
from compat_train.methods.centred_output import Cone, write_mean
from compat_train.models.build import build_model

SIZE = Preprocessing(size=28)


@pytest.fixture
def cone() -> Cone:
    vectors = F.normalize(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) * 0.3 + 1)
    return Cone.around(vectors, mean_vector(vectors))


def test_a_cone_knows_its_axis_and_how_far_its_vectors_lie_from_it() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    cone = Cone.around(vectors, mean_vector(vectors))
    assert cone.mean.tolist() == [0.5, 0.5] and cone.length == pytest.approx(0.5**0.5)
    assert cone.complete(torch.tensor([[3.0, 0.0], [0.0, 1.0]])).flatten().tolist() == pytest.approx(
        [0.5 + 3 * cone.length, 0.5, 0.5, 0.5 + cone.length]
    )


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3"])  # one layer, and the last of two
def test_the_network_itself_then_writes_the_mean_and_the_scaled_rest(arch: str, cone: Cone) -> None:
    torch.manual_seed(0)
    network = build_model(arch, dim=5, width=0.25)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 3), np.uint8)
    images = np.array([8, 2, 5, 0])
    inputs = input_tensor(torch.from_numpy(pixels[images]), SIZE)
    with torch.no_grad():
        before = network.eval()(inputs)
        scale = write_mean(network.train(), cone, pixels, images, SIZE, torch.device("cpu"))
        assert network.training
        after = network.eval()(inputs)
    assert torch.allclose(after, cone.mean + scale * before, rtol=1e-4, atol=1e-5)
    assert torch.allclose(after, cone.complete(before), rtol=1e-4, atol=1e-5)
    assert (after - cone.mean).norm(dim=1).mean().item() == pytest.approx(2 * cone.length, rel=1e-4)


def test_with_the_mean_a_query_finds_the_nearest_target_and_without_it_the_longest() -> None:
    angles = torch.deg2rad(torch.tensor([10.0, 50.0, -10.0, -50.0]))
    stored = torch.stack((angles.cos(), angles.sin()), 1)
    mean = mean_vector(stored)  # on the first axis
    rest = stored - mean
    assert (F.normalize(mean + rest) @ stored.T).argmax(1).tolist() == [0, 1, 2, 3]
    assert (F.normalize(rest) @ stored.T).argmax(1).tolist() == [1, 1, 3, 3]


def test_a_network_without_a_last_linear_layer_is_refused(cone: Cone) -> None:
    pixels = np.zeros((2, 28, 28, 3), np.uint8)
    with pytest.raises(TrainingError, match="does not end in a linear layer named head"):
        write_mean(nn.Flatten(), cone, pixels, np.arange(2), SIZE, torch.device("cpu"))
