"""Static and dynamic learning rankings, and the correlation that compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import ConfigError
from compat_train.models.global_cost import parameters
from compat_train.models.global_space import Bounds, GlobalMember, random_member
from compat_train.nas.global_nas.evaluate import CandidateTrainer
from compat_train.nas.global_nas.prepare import prepare
from compat_train.nas.global_nas.ranking import rank
from tests.train.nas.test_global_run import tiny

BOUNDS = Bounds(min_depth=3, max_depth=6, min_width=4, max_width=8)


def members(count: int) -> list[GlobalMember]:
    generator = np.random.default_rng(0)
    return [random_member(BOUNDS, generator) for _ in range(count)]


def test_a_larger_network_is_trained_longer_in_the_dynamic_ranking_only() -> None:
    calls: list[tuple[int, int]] = []

    def score(member: GlobalMember, epochs: int) -> float:
        calls.append((parameters(member, 8), epochs))
        # In full, larger is better; short trainings favour small networks.
        size = parameters(member, 8) / 1e5
        return size if epochs == 50 else epochs / 10 - size / 10

    found = rank(members(6), score, dim=8, static=1, step=2, full=50)
    sizes = sorted(parameters(member, 8) for member in members(6))
    assert list(found.parameters) == sizes
    assert calls == [(size, 1) for size in sizes] + [(size, 2 * place) for place, size in enumerate(sizes, 1)] + [
        (size, 50) for size in sizes
    ]
    assert found.epochs == (6, 42, 300)
    correlations = found.correlations()
    assert correlations["static"] == pytest.approx(-1) and correlations["dynamic"] == pytest.approx(1)
    assert correlations["parameters"] == pytest.approx(1)
    first = found.to_json()["networks"]
    assert isinstance(first, list) and first[0]["parameters"] == sizes[0]


def test_real_trainings_are_ranked(clothes: Path, tmp_path: Path) -> None:
    config = tiny(clothes)
    trainer = CandidateTrainer(config, prepare(config, tmp_path).images, tmp_path / "candidates")
    found = rank(members(3), trainer, dim=8, static=1, step=1, full=2)
    assert all(0 <= score <= 1 for score in (*found.static, *found.dynamic, *found.full))
    # What was trained for as many epochs before is not trained again.
    assert found.static[0] == found.dynamic[0] and found.dynamic[1] == found.full[1]
    assert len(list((tmp_path / "candidates").iterdir())) == 3 + 2 + 2


def test_too_few_networks_or_epochs_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 networks"):
        rank(members(2), lambda member, epochs: 0.5, dim=8, static=1, step=1, full=2)
    with pytest.raises(ConfigError, match="step 0"):
        rank(members(3), lambda member, epochs: 0.5, dim=8, static=1, step=0, full=2)
