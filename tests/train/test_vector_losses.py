"""Losses on the gallery model's vectors: a value by hand, a limiting case, what gets no gradient, a naive loop."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compat_train.losses.asymmetric import asymmetric_contrastive_loss
from compat_train.losses.centred import centred, centred_regression_loss, mean_vector
from compat_train.losses.contextual import contextual_similarity_loss
from compat_train.losses.distill import embedding_regression_loss
from compat_train.losses.info_nce import cross_model_info_nce_loss


@pytest.fixture
def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Of the query model, of the gallery model, and a bank, none of unit norm."""
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(count, 5, generator=generator) * 3 for count in (6, 6, 4))  # type: ignore[return-value]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def test_the_mean_vector_is_long_where_all_point_one_way_and_zero_where_they_cancel() -> None:
    assert mean_vector(torch.tensor([[2.0, 0.0], [5.0, 0.0]])).tolist() == [1.0, 0.0]
    assert mean_vector(torch.tensor([[2.0, 0.0], [-5.0, 0.0]])).tolist() == [0.0, 0.0]
    assert mean_vector(torch.tensor([[3.0, 0.0], [0.0, 4.0]])).tolist() == [0.5, 0.5]


def test_centred_targets_sum_to_zero_and_forget_what_all_share(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    mean = mean_vector(rows[1])
    assert torch.allclose(centred(rows[1], mean).sum(0), torch.zeros(5), atol=1e-6)
    assert torch.equal(centred(rows[1], torch.zeros(5)), F.normalize(rows[1]))


def test_the_mean_itself_is_a_good_answer_only_before_centring() -> None:
    gallery = F.normalize(torch.tensor([[1.0, 0.2, 0.0], [1.0, -0.2, 0.0], [1.0, 0.0, 0.2], [1.0, 0.0, -0.2]]))
    mean = mean_vector(gallery)
    constant = mean.expand(4, 3)
    assert embedding_regression_loss(constant, gallery).item() < 0.03
    assert centred_regression_loss(constant, gallery, mean).item() == pytest.approx(1.0, abs=0.03)
    assert centred_regression_loss(gallery - mean, gallery, mean).item() == pytest.approx(0.0, abs=1e-6)
    assert centred_regression_loss(mean - gallery, gallery, mean).item() == pytest.approx(2.0, abs=1e-6)


def test_contextual_similarity_by_hand() -> None:
    # Over a bank of two, the gallery model's cosines are 1 and 0, the query model's 0 and 1; temperature 1.
    share = math.e / (math.e + 1)
    bank = torch.eye(2)
    loss = contextual_similarity_loss(
        torch.tensor([[0.0, 3.0]]), torch.tensor([[2.0, 0.0]]), bank, temperature=1.0, gallery_temperature=1.0
    )
    expected = share * math.log(share / (1 - share)) + (1 - share) * math.log((1 - share) / share)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_contextual_similarity_equals_a_naive_loop(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    ours, gallery, bank = (each.tolist() for each in rows)
    total = 0.0
    for one, other in zip(ours, gallery, strict=True):
        found = softmax([cosine(one, row) / 0.2 for row in bank])
        wanted = softmax([cosine(other, row) / 0.1 for row in bank])
        total += sum(w * math.log(w / f) for w, f in zip(wanted, found, strict=True))
    loss = contextual_similarity_loss(*rows, temperature=0.2, gallery_temperature=0.1)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_contextual_similarity_is_zero_for_the_gallery_models_own_vectors(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    assert contextual_similarity_loss(rows[1] * 7, rows[1], rows[2]).item() == pytest.approx(0.0, abs=1e-6)


def test_info_nce_by_hand() -> None:
    # Each image's own vector has cosine 1 and the other's 0.
    loss = cross_model_info_nce_loss(torch.eye(2) * 4, torch.eye(2), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


@pytest.mark.parametrize("own", [None, [0, -1, 2, 3, -1, 1]])
def test_info_nce_equals_a_naive_loop(own: list[int] | None, rows: tuple[Tensor, Tensor, Tensor]) -> None:
    ours, gallery, bank = (each.tolist() for each in rows)
    total = 0.0
    for place, one in enumerate(ours):
        left = [row for number, row in enumerate(bank) if own is None or number != own[place]]
        shares = softmax([cosine(one, row) / 0.3 for row in gallery + left])
        total -= math.log(shares[place])
    rows_of_bank = None if own is None else torch.tensor(own)
    loss = cross_model_info_nce_loss(*rows, rows_of_bank, temperature=0.3)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_the_images_own_row_of_the_bank_is_no_negative(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    alone = cross_model_info_nce_loss(rows[0], rows[1])
    bank, own = rows[1][:1], torch.zeros(6, dtype=torch.int64)
    assert cross_model_info_nce_loss(rows[0], rows[1], bank, own).item() == pytest.approx(alone.item(), rel=1e-6)
    assert cross_model_info_nce_loss(rows[0], rows[1], bank).item() > alone.item()


def test_asymmetric_contrastive_by_hand() -> None:
    # Two labels. Each image: its own vector at cosine 1, the other's at 0.6, which is 0.1 above the margin.
    gallery = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    loss = asymmetric_contrastive_loss(gallery * 3, gallery, torch.tensor([0, 1]), margin=0.5)
    assert loss.item() == pytest.approx(0.1, abs=1e-6)
    # One label: each image is drawn to both, at distances 0 and 0.4.
    together = asymmetric_contrastive_loss(gallery * 3, gallery, torch.tensor([0, 0]), margin=0.5)
    assert together.item() == pytest.approx(0.2, abs=1e-6)


def test_asymmetric_contrastive_equals_a_naive_loop(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    labels = [0, 1, 0, 2, 1, 0]
    ours, gallery = rows[0].tolist(), rows[1].tolist()
    total = 0.0
    for one, label in zip(ours, labels, strict=True):
        pairs = [(cosine(one, row), other == label) for row, other in zip(gallery, labels, strict=True)]
        near = [1 - value for value, same in pairs if same]
        far = [max(0.0, value - 0.1) for value, same in pairs if not same]
        total += sum(near) / len(near) + sum(far) / len(far)
    loss = asymmetric_contrastive_loss(rows[0], rows[1], torch.tensor(labels), margin=0.1)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "centred": lambda ours, gallery, bank: centred_regression_loss(ours, gallery, mean_vector(bank)),
    "csd": contextual_similarity_loss,
    "infonce": cross_model_info_nce_loss,
    "aml": lambda ours, gallery, bank: asymmetric_contrastive_loss(ours, gallery, torch.arange(6)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_query_model_gets_a_gradient_whatever_the_norms(
    name: str, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    loss = LOSSES[name]
    ours, gallery, bank = (each.clone().requires_grad_() for each in rows)
    loss(ours, gallery, bank).backward()
    assert ours.grad is not None and torch.isfinite(ours.grad).all() and ours.grad.abs().sum() > 0
    assert gallery.grad is None and bank.grad is None
    # The length of a vector says nothing: no gradient along it.
    assert torch.allclose((ours.grad * ours.detach()).sum(1), torch.zeros(6), atol=1e-5)
    assert loss(rows[0] * 5, rows[1] * 0.1, rows[2] * 3).item() == pytest.approx(loss(*rows).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_small_step_lowers_each_loss(name: str, rows: tuple[Tensor, Tensor, Tensor]) -> None:
    ours = rows[0].clone().requires_grad_()
    before = LOSSES[name](ours, rows[1], rows[2])
    before.backward()
    assert ours.grad is not None
    after = LOSSES[name](ours.detach() - 1e-3 * ours.grad, rows[1], rows[2])
    assert after.item() < before.item()


@pytest.mark.parametrize("name", LOSSES)
def test_halves_in_bfloat16_autocast_are_compared_in_full_precision(
    name: str, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    exact = LOSSES[name](*rows)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name](*rows)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-6)
