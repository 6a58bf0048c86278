"""Search spaces, the cost of their members, and draws by cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compat_sdk.errors import ConfigError
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.search_space import SCALES, Member, SearchSpace, member_named, space_named
from compat_train.nas.cmp.cost import cost_table
from compat_train.nas.cmp.sampling import MemberSampler

SMALL = "shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=32"


def uniform(space: SearchSpace, operation: int, scale: int) -> Member:
    blocks = len(space.blocks)
    return Member(space, (operation,) * blocks, (scale,) * blocks)


def test_the_published_network_costs_what_its_authors_say() -> None:
    # With 1,000 classes: 328M in the authors' release with channel search, 323M in the one without.
    space = SearchSpace()
    table = cost_table(space, size=112, dim=1000)
    found = Member(
        space,
        (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2),
        (6, 5, 3, 5, 2, 6, 3, 4, 2, 5, 7, 5, 4, 6, 7, 4, 4, 5, 4, 3),
    )
    assert table.cost(found) == pytest.approx(327.86, abs=0.01)
    blocks_only = Member(space, (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3), (4,) * 20)
    assert table.cost(blocks_only) == pytest.approx(322.92, abs=0.01)


def test_the_span_of_the_space_is_that_of_its_cheapest_and_dearest_choices() -> None:
    space = SearchSpace()
    table = cost_table(space, size=112)
    assert table.cost(uniform(space, 3, 9)) == pytest.approx(841.0, abs=0.1)  # Xception everywhere at 2.0
    assert table.cost(uniform(space, 0, 0)) == pytest.approx(101.0, abs=0.1)  # 3x3 everywhere at 0.2
    assert table.lowest == pytest.approx(94.07, abs=0.01)  # the cheapest operation of each block
    assert cost_table(SearchSpace(last=128), size=112).lowest < 67


@pytest.mark.parametrize("kind", ["shuffle", "ane"])
@pytest.mark.parametrize(("size", "stem_stride"), [(112, 1), (50, 2)])
def test_the_table_agrees_with_counting_the_built_network(kind: str, size: int, stem_stride: int) -> None:
    space = space_named(f"{kind},last=64")
    table = cost_table(space, size=size, dim=24, stem_stride=stem_stride)
    sampler = MemberSampler(table)
    generator = np.random.default_rng(0)
    for _ in range(3):
        member = sampler.draw(generator, table.lowest, table.highest)
        counted = count_cost(build_model(member.name, dim=24, stem_stride=stem_stride), size).mmacs
        assert table.cost(member) == pytest.approx(counted, abs=1e-9)


@pytest.mark.parametrize("name", ["shuffle", "ane", SMALL, "ane,channels=8-16-24-32,last=7"])
def test_a_name_gives_the_space_and_the_member_back(name: str) -> None:
    space = space_named(name)
    assert space_named(space.name) == space
    member = uniform(space, 3, 9)
    assert member_named(member.name) == member


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cmp:shuffle:0123:4444", "expected 20 of each"),
        (f"cmp:shuffle:{'7' * 20}:{'4' * 20}", "numbers from 0 to 3"),
        ("cmp:shuffle", "expected cmp:SPACE:OPERATIONS:SCALES"),
        (f"cmp:swirl:{'0' * 20}:{'4' * 20}", "expected one of shuffle, ane"),
        (f"cmp:shuffle,last=x:{'0' * 20}:{'4' * 20}", "last=x"),
        (f"cmp:shuffle,channels=64-32-16-8:{'0' * 20}:{'4' * 20}", "more channels than the one before"),
    ],
)
def test_a_malformed_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_model(name)


def test_a_member_takes_no_width() -> None:
    with pytest.raises(ConfigError, match="leave width out"):
        build_model(uniform(space_named(SMALL), 0, 0).name, width=0.5)


def test_draws_keep_to_their_range_and_reach_the_smallest_tier() -> None:
    table = cost_table(SearchSpace(), size=112)
    sampler = MemberSampler(table)
    generator = np.random.default_rng(1)
    for low, high in ((94.1, 96.0), (99.0, 100.0), (229.5, 230.0), (870.0, 878.0)):
        for _ in range(20):
            assert low <= table.cost(sampler.draw(generator, low, high)) <= high


def test_draws_are_uniform_among_the_members_of_a_range() -> None:
    space = space_named("shuffle,stem=4,channels=8-16-24-32,repeats=1-1-1-1,last=32")
    table = cost_table(space, size=32)
    sampler = MemberSampler(table)
    choices = table.choices.reshape(4, -1)
    every = (table.fixed + choices[0][:, None, None, None] + choices[1][None, :, None, None]
             + choices[2][None, None, :, None] + choices[3][None, None, None, :]) / 1e6  # fmt: skip
    low, high = np.quantile(every, [0.3, 0.6])
    inside = np.argwhere((every >= low) & (every <= high))
    generator = np.random.default_rng(2)
    drawn = [sampler.draw(generator, low, high) for _ in range(4000)]
    for block in range(4):
        expected = np.bincount(inside[:, block], minlength=40) / len(inside)
        found = np.bincount(
            [len(SCALES) * member.operations[block] + member.scales[block] for member in drawn], minlength=40
        ) / len(drawn)
        assert np.abs(found - expected).max() < 0.02


def test_only_the_open_scales_are_drawn() -> None:
    sampler = MemberSampler(cost_table(SearchSpace(), size=112), scales=range(8, 10))
    member = sampler.draw(np.random.default_rng(0), 0, 1e6)
    assert set(member.scales) <= {8, 9}


def test_a_range_without_members_is_refused_with_the_possible_one() -> None:
    sampler = MemberSampler(cost_table(SearchSpace(), size=112))
    with pytest.raises(ConfigError, match=r"they take 94\.07 to"):
        sampler.draw(np.random.default_rng(0), 10, 20)


@pytest.mark.parametrize("kind", ["shuffle", "ane"])
def test_every_operation_keeps_the_shape_that_its_block_must_have(kind: str) -> None:
    space = space_named(f"{kind},stem=4,channels=8-16-24-32,repeats=2-1-1-1,last=16")
    for operation in range(len(space.operations)):
        model = build_model(uniform(space, operation, 3).name, dim=8).eval()
        with torch.no_grad():
            assert model(torch.zeros(2, 3, 33, 33)).shape == (2, 8)
