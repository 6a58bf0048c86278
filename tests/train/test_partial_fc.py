"""Partial FC: a step looks at a part of the classes, and moves that part alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.losses.margin import cosine_margin_loss
from compat_train.losses.partial import sampled_classes, sampling_rate
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.methods.sampled_classifier import SampledClassifier, sampled_frozen
from compat_train.optimiser import make_optimiser, parts_alone
from tests.train.test_resume import Stop, gallery_config, stop_after, weights

LABELS = torch.tensor([7, 3, 3, 99])


def test_every_class_of_the_batch_is_drawn_and_others_up_to_the_share() -> None:
    drawn = [sampled_classes(LABELS, 100, 0.2, torch.Generator().manual_seed(seed)) for seed in range(50)]
    for rows in drawn:
        assert len(rows) == 20 and rows.tolist() == sorted(set(rows.tolist()))
        assert {3, 7, 99} <= set(rows.tolist())
    assert len({row for rows in drawn for row in rows.tolist()}) == 100  # no class is left out for ever
    again = sampled_classes(LABELS, 100, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(again, drawn[0])


def test_a_batch_of_more_classes_than_the_share_keeps_its_own() -> None:
    rows = sampled_classes(LABELS, 100, 0.01, torch.Generator().manual_seed(0))
    assert rows.tolist() == [3, 7, 99]


def test_all_classes_are_drawn_at_rate_one_and_by_default_up_to_a_million() -> None:
    assert sampled_classes(LABELS, 100, 1.0, torch.Generator()).tolist() == list(range(100))
    assert [sampling_rate(None, count) for count in (10, 1_000_000, 1_000_001)] == [1.0, 1.0, 0.1]
    assert sampling_rate(1.0, 2_000_000) == 1.0


def test_the_loss_of_a_step_is_the_softmax_over_its_classes_alone() -> None:
    torch.manual_seed(0)
    classifier, embeddings = nn.Linear(8, 100, bias=False), torch.randn(4, 8)
    part, labels = SampledClassifier(classifier, 0.2, seed=5).of(LABELS, step=2)
    assert torch.equal(part[labels], classifier.weight[LABELS])
    loss = cosine_margin_loss(embeddings, part, labels, margin=0.4, scale=10.0)
    cosines = F.normalize(embeddings) @ F.normalize(part).T
    for row, label in enumerate(labels):
        cosines[row, label] -= 0.4
    naive = -(10 * cosines).log_softmax(1)[range(4), labels].mean()
    torch.testing.assert_close(loss, naive)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_class_weights_that_were_not_drawn_keep_value_and_momentum(optimiser: str) -> None:
    """Those that were drawn move as if they were alone in the optimiser."""
    torch.manual_seed(0)
    classifier = nn.Linear(8, 100, bias=False)
    optimisation = Optimisation(epochs=1, lr=0.1, weight_decay=0.1, optimiser=optimiser)  # type: ignore[arg-type]
    stepper = make_optimiser(classifier, optimisation)
    sampled = SampledClassifier(classifier, 0.2, seed=5)
    for step in range(3):
        before = classifier.weight.detach().clone()
        moments = {key: value.clone() for key, value in stepper.state.get(classifier.weight, {}).items()}
        part, labels = sampled.of(LABELS, step)
        cosine_margin_loss(torch.randn(4, 8), part, labels).backward()
        assert classifier.weight.grad is None  # no array as large as the classifier
        ((_, (rows,), _),) = sampled.moved(step)
        with parts_alone(stepper, sampled.moved(step)):
            stepper.step()
        rest = torch.ones(100, dtype=torch.bool)
        rest[rows] = False
        assert torch.equal(classifier.weight[rest], before[rest])
        assert (classifier.weight[~rest] != before[~rest]).any(1).all()
        for key, value in stepper.state[classifier.weight].items():
            if value.dim() and key in moments:
                assert torch.equal(value[rest], moments[key][rest]), key
                assert not torch.equal(value[~rest], moments[key][~rest]), key
            assert not value.dim() or value.shape == classifier.weight.shape


def test_nothing_is_left_over_when_a_step_fails() -> None:
    classifier = nn.Linear(8, 100, bias=False)
    stepper = make_optimiser(classifier, Optimisation(epochs=1))
    sampled = SampledClassifier(classifier, 0.2, seed=5)
    part, labels = sampled.of(LABELS, 0)
    cosine_margin_loss(torch.randn(4, 8), part, labels).backward()
    before = classifier.weight.detach().clone()
    with pytest.raises(RuntimeError, match="stopped"), parts_alone(stepper, sampled.moved(0)):
        raise RuntimeError("stopped")
    assert torch.equal(classifier.weight, before)


def test_a_frozen_classifier_is_sampled_too() -> None:
    frozen = torch.randn(100, 8)
    part, targets = sampled_frozen(frozen, LABELS, 0.2, seed=1, step=0)
    assert part.shape == (20, 8) and torch.equal(part[targets], frozen[LABELS])
    whole, same = sampled_frozen(frozen, LABELS, None, seed=1, step=0)
    assert whole is frozen and same is LABELS


def test_a_training_at_rate_one_is_the_full_softmax_and_a_sampled_one_resumes(clothes: Path, tmp_path: Path) -> None:
    config = replace(gallery_config(clothes), optimisation=Optimisation(epochs=1, batch=3, warmup_epochs=0.0))
    train_gallery(config, tmp_path / "full")
    train_gallery(replace(config, sampling_rate=1.0), tmp_path / "one")
    assert weights(tmp_path / "one") == weights(tmp_path / "full")
    part = replace(config, sampling_rate=0.5)
    train_gallery(part, tmp_path / "part")
    assert weights(tmp_path / "part") != weights(tmp_path / "full")
    with pytest.raises(Stop):
        train_gallery(part, tmp_path / "again", progress=stop_after(4))  # type: ignore[arg-type]
    train_gallery(part, tmp_path / "again")
    assert weights(tmp_path / "again") == weights(tmp_path / "part")
    query = QueryConfig(
        source=Source(data=str(clothes)),
        gallery=str(tmp_path / "full"),
        arch="resnet18",
        width=0.125,
        optimisation=config.optimisation,
        augmentation=Augmentation(),
        execution=Execution(device="cpu"),
        watch=0,
        sampling_rate=0.5,
    )
    checkpoint = train_query(query, tmp_path / "query")
    assert checkpoint.classifier is not None and torch.isfinite(checkpoint.classifier).all()


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="sampling_rate"):
        replace(gallery_config("data"), sampling_rate=rate, preprocessing=Preprocessing(size=28))


@pytest.mark.parametrize("method", ["kd", "lce", "regression"])
def test_methods_that_look_at_every_class_or_at_none_refuse_a_share(method: str) -> None:
    with pytest.raises(ConfigError, match="sampling_rate"):
        QueryConfig(source=Source(data="data"), gallery="g", method=method, sampling_rate=0.5)  # type: ignore[arg-type]
