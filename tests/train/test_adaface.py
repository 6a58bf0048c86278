"""AdaFace: its formula by hand and by a loop, its limits, its statistics, and that trainings use and resume them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_from_mapping, config_to_json
from compat_train.losses.adaface import adaptive_margin_loss, embedding_lengths, image_quality
from compat_train.losses.margin import angular_margin_loss, cosine_margin_loss
from compat_train.methods import gallery as gallery_module
from compat_train.methods.gallery import train_gallery
from compat_train.methods.length_statistics import LengthStatistics
from compat_train.methods.query import train_query

ADAFACE = Classification(loss="adaface")


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn(8, 5, generator=generator) * torch.linspace(0.2, 60, 8)[:, None]
    classifier = torch.randn(4, 5, generator=generator)
    return embeddings, classifier, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]), torch.linspace(-1, 1, 8)


def test_it_equals_the_published_formula_in_a_loop(rows: tuple[torch.Tensor, ...]) -> None:
    embeddings, classifier, labels, quality = rows
    losses = []
    for embedding, label, told in zip(embeddings.tolist(), labels.tolist(), quality.tolist(), strict=True):
        logits = []
        for number, weight in enumerate(classifier.tolist()):
            dot = sum(a * b for a, b in zip(embedding, weight, strict=True))
            cosine = min(max(dot / math.hypot(*embedding) / math.hypot(*weight), -0.999), 0.999)
            if number == label:
                angle = min(max(math.acos(cosine) - 0.4 * told, 0.001), math.pi - 0.001)
                cosine = math.cos(angle) - (0.4 + 0.4 * told)
            logits.append(64 * cosine)
        largest = max(logits)
        losses.append(largest + math.log(sum(math.exp(value - largest) for value in logits)) - logits[label])
    found = adaptive_margin_loss(embeddings, classifier, labels, quality, reduction="none")
    assert found.tolist() == pytest.approx(losses, rel=1e-4, abs=1e-3)
    assert adaptive_margin_loss(embeddings, classifier, labels, quality).item() == pytest.approx(
        sum(losses) / 8, rel=1e-4
    )


def test_its_limits_are_the_margins_of_cosface_and_arcface() -> None:
    # A cosine of 0.6 to the true class and of 0.8 to the other one: an acute angle, where ArcFace is the paper's.
    embedding, classifier, label = torch.tensor([[3.0, 4.0]]), torch.eye(2), torch.tensor([0])
    middle = adaptive_margin_loss(embedding, classifier, label, torch.zeros(1))
    assert middle.item() == pytest.approx(cosine_margin_loss(embedding, classifier, label).item(), rel=1e-6)
    assert adaptive_margin_loss(embedding, classifier, label).item() == middle.item()
    low = adaptive_margin_loss(embedding, classifier, label, -torch.ones(1))
    arc = angular_margin_loss(embedding, classifier, label, margin=0.4)
    assert low.item() == pytest.approx(arc.item(), rel=1e-5)


def test_the_gradient_is_finite_at_both_ends_and_quality_has_none(rows: tuple[torch.Tensor, ...]) -> None:
    for direction in (1.0, -1.0):
        embedding = torch.tensor([[direction * 3.0, 0.0]], requires_grad=True)
        adaptive_margin_loss(embedding, torch.eye(2), torch.tensor([0]), torch.ones(1)).backward()
        assert embedding.grad is not None and torch.isfinite(embedding.grad).all()
    embeddings = rows[0].clone().requires_grad_()
    assert not LengthStatistics(ADAFACE)(embeddings).requires_grad


def test_lengths_are_cut_and_quality_is_clipped() -> None:
    lengths = embedding_lengths(torch.tensor([[3.0, 4.0], [0.0, 0.0], [300.0, 0.0]]))
    assert lengths.tolist() == pytest.approx([5.0, 0.001, 100.0])
    told = image_quality(torch.tensor([20.0, 22.0, 1.0, 99.0]), torch.tensor(20.0), torch.tensor(2.0))
    assert told.tolist() == pytest.approx([0.0, 0.333 * 2 / 2.001, -1.0, 1.0])


def test_statistics_move_by_a_hundredth_and_the_batch_counts_in_its_own() -> None:
    statistics = LengthStatistics(ADAFACE)
    first = statistics(torch.tensor([[10.0, 0.0], [0.0, 30.0], [0.0, 20.0]]))
    # Lengths 10, 30 and 20: mean 20, deviation of the sample 10.
    assert statistics.mean.item() == pytest.approx(20.0) and statistics.deviation.item() == pytest.approx(99.1)
    assert first.tolist() == pytest.approx([-3.33 / 99.101, 3.33 / 99.101, 0.0], abs=1e-6)
    statistics(torch.tensor([[120.0, 0.0], [0.0, 100.0]]))  # both count as 100
    assert statistics.mean.item() == pytest.approx(0.99 * 20 + 1) and statistics.deviation.item() == pytest.approx(
        0.99 * 99.1
    )
    at_once = LengthStatistics(Classification(loss="adaface", norm_momentum=1.0, concentration=1.0))
    assert at_once(torch.tensor([[10.0], [30.0], [20.0]])).tolist() == pytest.approx([-1, 1, 0], abs=1e-3)
    assert set(statistics.state_dict()) == {"mean", "deviation"}


def test_what_adaface_alone_has_is_refused_elsewhere_and_old_runs_are_recorded_as_before() -> None:
    for name in ("concentration", "norm_momentum"):
        with pytest.raises(ConfigError, match=f"{name} is 0.2, which the loss cosface does not have"):
            config_from_mapping(Classification, {name: 0.2})
    assert config_from_mapping(Classification, {"loss": "adaface", "concentration": 0.2}).concentration == 0.2
    assert config_to_json(Classification()) == {"loss": "cosface", "margin": 0.4, "scale": 64.0}


def test_a_gallery_and_a_query_model_are_trained_under_it_and_resumed_with_their_statistics(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    told = LengthStatistics.forward

    def watched(self: LengthStatistics, embeddings: torch.Tensor) -> torch.Tensor:
        seen.append(told(self, embeddings))
        return seen[-1]

    monkeypatch.setattr(LengthStatistics, "forward", watched)
    quick = Optimisation(epochs=2, batch=24, lr=0.01)
    often = Execution(device="cpu", checkpoint_steps=1)
    config = GalleryConfig(
        source=Source(data=str(clothes)), arch="resnet18", width=0.0625, dim=8, preprocessing=Preprocessing(size=28),
        classification=ADAFACE, optimisation=quick, execution=often,
    )  # fmt: skip
    whole = train_gallery(config, tmp_path / "whole")
    assert len(seen) == 4 and all(len(one) == 24 for one in seen) and whole.classification.loss == "adaface"
    loss = gallery_module.classification_loss
    qualities = []

    def stopped(*values: object, **named: object) -> object:
        qualities.append(named["quality"])
        if len(qualities) == 3:
            raise KeyboardInterrupt
        return loss(*values, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery_module, "classification_loss", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_gallery(config, tmp_path / "twice")
    monkeypatch.setattr(gallery_module, "classification_loss", loss)
    assert train_gallery(config, tmp_path / "twice").space == whole.space
    assert torch.equal(seen[-1], seen[3])  # the last step's quality, by statistics of all four
    seen.clear()
    query = QueryConfig(
        source=Source(data=str(clothes)), gallery=str(whole.path), arch="resnet18", width=0.0625, execution=often,
        optimisation=quick, watch=0,
    )  # fmt: skip
    assert train_query(query, tmp_path / "query").classification.loss == "adaface" and len(seen) == 4
