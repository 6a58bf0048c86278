"""The losses of upgrades, and linear CKA: values by hand, limits, and what gets no gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from compat_sdk.errors import VectorError
from compat_train.evaluation.cka import linear_cka
from compat_train.losses.forward import forward_transform_loss
from compat_train.losses.reconstruction import reconstruction_loss
from compat_train.losses.simclr import nt_xent_loss


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_nt_xent_of_identical_views_and_orthogonal_negatives_by_hand(temperature: float) -> None:
    # Every view sees its positive at cosine 1 and 2 n - 2 = 6 negatives at cosine 0.
    views = 3 * torch.eye(4)
    expected = math.log(1 + 6 * math.exp(-1 / temperature))
    assert nt_xent_loss(views, 7 * views, temperature=temperature).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_nt_xent_of_images_that_all_look_alike_is_the_logarithm_of_the_choices() -> None:
    assert nt_xent_loss(torch.ones(5, 3), torch.ones(5, 3)).item() == pytest.approx(math.log(9), rel=1e-6)


def test_nt_xent_equals_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    rows = [*first.tolist(), *second.tolist()]

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for row in range(8):
        positive = (row + 4) % 8
        others = [math.exp(cosine(rows[row], rows[other]) / 0.2) for other in range(8) if other != row]
        total -= math.log(math.exp(cosine(rows[row], rows[positive]) / 0.2) / sum(others))
    assert nt_xent_loss(first, second, temperature=0.2).item() == pytest.approx(total / 8, rel=1e-5)


def test_nt_xent_does_not_change_when_the_views_are_exchanged() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    assert nt_xent_loss(first, second).item() == pytest.approx(nt_xent_loss(second, first).item(), rel=1e-6)


def test_the_transform_loss_by_hand_and_its_target_is_a_constant() -> None:
    transformed = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    new = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    loss = forward_transform_loss(transformed, new)
    assert loss.item() == pytest.approx((4 + 1) / 2)
    loss.backward()
    assert new.grad is None and transformed.grad is not None
    assert transformed.grad.tolist() == [[0.0, 2.0], [pytest.approx(-0.6), pytest.approx(-0.8)]]
    assert forward_transform_loss(new, new).item() == 0


def test_reconstruction_is_the_mean_square_and_the_images_get_no_gradient() -> None:
    images = torch.zeros(2, 3, 4, 4, requires_grad=True)
    made = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    loss = reconstruction_loss(images, made)
    assert loss.item() == pytest.approx(0.25)
    loss.backward()
    assert images.grad is None and made.grad is not None


def test_cka_of_rotated_scaled_and_moved_embeddings_is_one() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((50, 6)).astype(np.float32)
    rotation = np.linalg.qr(random.standard_normal((6, 6)))[0].astype(np.float32)
    assert linear_cka(rows, 3 * rows @ rotation + 5) == pytest.approx(1, abs=1e-5)


def test_cka_of_embeddings_without_a_common_direction_is_zero() -> None:
    first = np.array([[1, 0], [-1, 0], [1, 0], [-1, 0]], np.float32)
    second = np.array([[1, 0], [1, 0], [-1, 0], [-1, 0]], np.float32)
    assert linear_cka(first, second) == pytest.approx(0, abs=1e-12)


def test_cka_equals_its_kernel_form() -> None:
    random = np.random.default_rng(1)
    first, second = (random.standard_normal((30, dim)).astype(np.float32) for dim in (5, 8))
    centre = np.eye(30) - 1 / 30
    kernels = [centre @ (rows.astype(np.float64) @ rows.T) @ centre for rows in (first, second)]
    expected = (kernels[0] * kernels[1]).sum() / np.linalg.norm(kernels[0]) / np.linalg.norm(kernels[1])
    assert linear_cka(first, second) == pytest.approx(expected, rel=1e-6)


def test_cka_refuses_what_does_not_vary_or_belong_together() -> None:
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(VectorError, match="all rows agree"):
        linear_cka(rows, np.ones((3, 2), np.float32))
    with pytest.raises(VectorError, match="3 and 2 rows"):
        linear_cka(rows, rows[:2])
