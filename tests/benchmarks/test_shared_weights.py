"""Shared weights of the global search's space: a member inside is the member's own network."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from benchmarks.studies.combined.shared_search import kept_epochs
from benchmarks.studies.combined.shared_weights import Schedule, SharedWeights, take
from compat_train.models.global_space import Bounds

BOUNDS = Bounds(min_depth=3, max_depth=7, min_width=2, max_width=6)


@pytest.fixture(scope="module")
def shared() -> SharedWeights:
    torch.manual_seed(0)
    return SharedWeights(BOUNDS, dim=5, stem_stride=2)


@pytest.mark.parametrize(("depth", "width"), [(7, 6), (3, 2), (5, 4), (6, 2)])
def test_a_member_computes_what_its_own_network_does(shared: SharedWeights, depth: int, width: int) -> None:
    member, images = BOUNDS.member(depth, width), torch.rand(4, 3, 16, 16)
    network = take(shared, member, stem_stride=2)
    network.train()  # its batch norms take the statistics of the batch, as the shared ones do
    assert torch.allclose(shared(images, member), network(images), atol=1e-5)


def test_a_step_may_move_what_its_member_uses_and_nothing_else(shared: SharedWeights) -> None:
    member = BOUNDS.member(4, 2)
    shared.zero_grad(set_to_none=True)
    shared(torch.rand(4, 3, 16, 16), member).square().sum().backward()
    parts = {id(part[0]): part[1] for part in shared.drawn_parts(member)}
    moved = [weight for weight in shared.parameters() if weight.grad is not None]
    assert len(moved) < len([weight for weight in shared.parameters() if weight.requires_grad])
    for weight in moved:
        assert weight.grad is not None
        outside = torch.ones(weight.shape, dtype=torch.bool)
        outside[parts.get(id(weight), ())] = False
        assert not weight.grad[outside].any() and weight.grad[~outside].any()


def test_steps_begin_with_the_largest_and_repeat_themselves() -> None:
    widths = {3: [6, 4], 7: [4, 2]}
    schedule = Schedule(widths, 100, 0, BOUNDS.member)
    drawn = [schedule.member(step) for step in range(100)]
    assert drawn[0] == BOUNDS.member(7, 4)
    assert {(member.depth, member.width) for member in drawn[40:]} == {(3, 6), (3, 4), (7, 4), (7, 2)}
    assert drawn == [Schedule(widths, 100, 0, BOUNDS.member).member(step) for step in range(100)]


def test_how_long_to_train_is_measured_once(tmp_path: Path) -> None:
    measured = [7, 9]
    path = tmp_path / "search" / "epochs.json"
    assert [kept_epochs(path, lambda: measured.pop(0)) for _ in range(2)] == [7, 7] and measured == [9]
