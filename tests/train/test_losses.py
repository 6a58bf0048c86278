"""Each loss: one value by hand, a limiting case, what gets no gradient, and a naive loop."""

from __future__ import annotations

import math

import pytest
import torch

from compat_train.losses.distill import embedding_regression_loss, knowledge_distillation_loss
from compat_train.losses.margin import cosine_logits, cosine_margin_loss, norm_softmax_loss


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    embeddings = torch.randn(6, 5, generator=generator)
    classifier = torch.randn(4, 5, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 0, 2])
    return embeddings, classifier, labels


def test_cosine_margin_loss_of_two_orthogonal_classes_by_hand() -> None:
    # cosines are 1 and 0; the true one is lowered to 0.6, scaled by 2: logits 1.2 and 0.
    loss = cosine_margin_loss(torch.tensor([[3.0, 0.0]]), torch.eye(2) * 5, torch.tensor([0]), margin=0.4, scale=2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.2)), abs=1e-6)


def test_cosine_margin_loss_equals_a_naive_loop(rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    embeddings, classifier, labels = rows
    total = 0.0
    for embedding, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = []
        for number, weight in enumerate(classifier.tolist()):
            dot = sum(a * b for a, b in zip(embedding, weight, strict=True))
            cosine = dot / math.hypot(*embedding) / math.hypot(*weight)
            logits.append(30 * (cosine - (0.35 if number == label else 0)))
        total += math.log(sum(math.exp(value) for value in logits)) - logits[label]
    found = cosine_margin_loss(embeddings, classifier, labels, margin=0.35, scale=30.0)
    assert found.item() == pytest.approx(total / len(labels), rel=1e-5)


def test_no_margin_is_normalised_softmax(rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    embeddings, classifier, labels = rows
    plain = torch.nn.functional.cross_entropy(cosine_logits(embeddings, classifier) / 0.5, labels)
    assert norm_softmax_loss(embeddings, classifier, labels, temperature=0.5).item() == pytest.approx(plain.item())


def test_a_larger_margin_costs_more(rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    losses = [cosine_margin_loss(*rows, margin=margin).item() for margin in (0.0, 0.2, 0.4)]
    assert losses == sorted(losses) and losses[0] < losses[2]


def test_a_detached_gallery_classifier_gets_no_gradient(
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    embeddings, classifier, labels = rows[0].requires_grad_(), rows[1].requires_grad_(), rows[2]
    cosine_margin_loss(embeddings, classifier.detach(), labels).backward()
    assert classifier.grad is None
    assert embeddings.grad is not None and embeddings.grad.abs().sum() > 0


def test_distillation_of_equal_logits_is_zero_and_the_teacher_gets_no_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, 3.0]], requires_grad=True)
    assert knowledge_distillation_loss(logits, logits.detach().clone()).item() == pytest.approx(0, abs=1e-7)
    knowledge_distillation_loss(logits, teacher).backward()
    assert teacher.grad is None and logits.grad is not None


def test_distillation_by_hand() -> None:
    # teacher (2/3, 1/3), student (1/2, 1/2) at temperature 1.
    teacher, student = torch.tensor([[math.log(2.0), 0.0]]), torch.zeros(1, 2)
    expected = 2 / 3 * math.log(2 / 3 / 0.5) + 1 / 3 * math.log(1 / 3 / 0.5)
    assert knowledge_distillation_loss(student, teacher, temperature=1.0).item() == pytest.approx(expected, abs=1e-6)


def test_regression_is_zero_in_the_same_direction_and_two_in_the_opposite_one() -> None:
    gallery = torch.tensor([[1.0, 2.0], [0.0, -3.0]], requires_grad=True)
    assert embedding_regression_loss(gallery * 7, gallery).item() == pytest.approx(0, abs=1e-6)
    assert embedding_regression_loss(-gallery, gallery).item() == pytest.approx(2, abs=1e-6)
    query = torch.ones(2, 2, requires_grad=True)
    embedding_regression_loss(query, gallery).backward()
    assert gallery.grad is None and query.grad is not None
