"""Milliseconds of networks from a table of blocks: exact where a block's cost is linear, and a budget of a search.

The tables are made of multiply-adds, so that what they must say of a network is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.profile import BlockTable, load_block_table, save_block_table
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.global_cost import mmacs
from compat_train.models.global_space import Bounds, GlobalMember, random_member
from compat_train.models.search_space import SearchSpace, space_named
from compat_train.nas.blocks import BlockSpace, between
from compat_train.nas.cmp import latency, run
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.cost import cost_table
from compat_train.nas.cmp.run import search_query_models
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.global_nas import latency as global_latency
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.prepare import fitting, prepare
from tests.train.nas.test_global_run import tiny

ANE = "ane,stem=4,channels=8-16-24-32,repeats=1-2-1-1,last=16"
SHUFFLE = ANE.replace("ane", "shuffle")


def table_of(space: BlockSpace) -> BlockTable:
    """A device that does a million multiply-adds in a millisecond."""
    costs: dict[str, float] = {}
    for block in space.blocks:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            block.build().eval()(torch.zeros(1, *block.shape))
        costs[block.name] = counter.get_total_flops() / 2e6
    blocks = {block.name: costs[block.name] - (costs[block.less] if block.less else 0) for block in space.blocks}
    return BlockTable({}, "none", 1, space.settings, blocks, ())


def test_a_width_between_two_measured_ones_takes_what_lies_between() -> None:
    assert between(3, [2, 4, 8]) == {2: 0.5, 4: 0.5}
    assert between(4, [2, 4, 8]) == {4: 1.0}
    assert between(8, [2, 4, 8]) == {8: 1.0} and between(2, [2, 4, 8]) == {2: 1.0}
    assert between(1, [2, 4, 8]) == {2: 1.5, 4: -0.5}, "beyond an end as the two nearest go on"
    assert between(10, [2, 4, 8]) == {4: -0.5, 8: 1.5}


@pytest.mark.parametrize(("name", "size", "stem_stride"), [(ANE, 32, 1), (SHUFFLE, 33, 2)])
def test_a_table_of_multiply_adds_gives_the_costs_of_every_choice(name: str, size: int, stem_stride: int) -> None:
    """Of xception, whose multiply-adds are no linear function of its hidden channels, as well."""
    space = space_named(name)
    table = table_of(latency.block_space(space, size, 8, stem_stride))
    found = latency.latency_costs(space, table, size=size, dim=8, stem_stride=stem_stride)
    wanted = cost_table(space, size=size, dim=8, stem_stride=stem_stride)
    assert found.unit == "ms" and found.fixed == wanted.fixed
    assert np.array_equal(found.choices, wanted.choices)


def test_a_members_blocks_sum_to_what_its_choices_cost() -> None:
    space = SearchSpace(stem=4, channels=(8, 16, 24, 32), repeats=(1, 2, 1, 1), last=16)
    table = table_of(latency.block_space(space, 32, 8, 1))
    costs = latency.latency_costs(space, table, size=32, dim=8, stem_stride=1)
    sampler, generator = MemberSampler(costs), np.random.default_rng(0)
    for _ in range(20):
        member = sampler.draw(generator, costs.lowest, costs.highest)
        weights = latency.weights_of(member, 32, 8, 1)
        assert costs.cost(member) == pytest.approx(table.milliseconds(weights), abs=1e-5)
        assert costs.lowest <= costs.cost(member) <= costs.highest


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_table_of_multiply_adds_gives_the_cost_of_a_global_network_of_any_width_of_the_bounds(kind: str) -> None:
    bounds = Bounds(kind=kind, stages=2, min_depth=4, max_depth=8, min_width=4, max_width=12)  # type: ignore[arg-type]
    table = table_of(global_latency.block_space(bounds, 17, 8, 2))
    generator = np.random.default_rng(0)

    def found(member: GlobalMember) -> float:
        return global_latency.milliseconds(member, table, bounds, size=17, dim=8, stem_stride=2)

    for width in bounds.widths:
        member = replace(random_member(bounds, generator), width=width)
        assert found(member) == pytest.approx(mmacs(member, 17, 8, 2), abs=1e-9)
        assert found(member) == pytest.approx(
            count_cost(build_model(member.name, dim=8, stem_stride=2), 17).mmacs, abs=1e-6
        )
    times = [found(replace(member, width=width)) for width in (3, 4, 5, 6, 8, 10, 12)]
    assert all(low < high for low, high in pairwise(times)), "widths between them, and below, are in order"


@pytest.mark.parametrize("space", [ANE, SHUFFLE, "global"])
def test_whole_networks_are_drawn_from_the_space_and_need_no_block_that_is_not_measured(space: str) -> None:
    found = (
        global_latency.block_space(Bounds(min_width=4, max_width=8), 32, 8, 1)
        if space == "global"
        else latency.block_space(space_named(space), 32, 8, 1)
    )
    networks = found.networks(6)
    names = {block.name for block in found.blocks}
    assert len(networks) == 6 and all(set(weights) <= names for weights in networks.values())
    assert [block.name for block in found.blocks if block.less and block.less not in names] == []
    assert found.networks(6) == networks, "the same each time"
    assert not found.networks(0)


@pytest.fixture
def device(smallest: CmpConfig, tmp_path: Path) -> Path:
    """A table of a device that takes a millisecond for a million multiply-adds, for the smallest search."""
    path = tmp_path / "device.json"
    save_block_table(table_of(latency.block_space(smallest.search_space, 32, 16, 1)), path)
    return path


def test_a_search_keeps_to_milliseconds_of_a_device(smallest: CmpConfig, device: Path, tmp_path: Path) -> None:
    config = replace(smallest, mmacs=(), milliseconds=(0.6,), table=str(device))
    stages = []
    result = search_query_models(config, tmp_path / "run", lambda stage, *_: stages.append(stage))
    (network,) = result.networks
    assert network.found is not None and network.milliseconds == network.found.cost <= 0.6
    assert network.to_json()["milliseconds"] == network.found.cost and network.name == "0.6ms / 1"
    assert network.run == tmp_path / "run" / "tiers" / "0.6ms" / "1"
    assert network.found.cost == pytest.approx(network.evaluation.query_mmacs, rel=1e-3)
    assert "search 0.6 ms" in stages
    assert search_query_models(config, tmp_path / "run").networks[0].arch == network.arch, "and is resumed"


def test_another_table_is_another_supernet_and_another_name_of_the_same_is_not(
    smallest: CmpConfig, device: Path, tmp_path: Path
) -> None:
    config = replace(smallest, mmacs=(), milliseconds=(0.6,), table=str(device))
    prepared = run.prepare(config, tmp_path / "run")

    def begin(config: CmpConfig) -> None:
        train_supernet(config, prepared.gallery, prepared.data, tmp_path / "run" / "supernet")

    begin(config)
    device.rename(tmp_path / "moved.json")
    begin(replace(config, table=str(tmp_path / "moved.json")))
    changed = load_block_table(tmp_path / "moved.json")
    save_block_table(replace(changed, blocks={name: 2 * ms for name, ms in changed.blocks.items()}), device)
    with pytest.raises(TrainingError, match="table was"):
        begin(config)


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"mmacs": ()}, "mmacs is empty; expected at least one budget of one kind"),
    ({"milliseconds": (1.0,), "table": "t"}, "both mmacs and milliseconds are given"),
    ({"mmacs": (), "milliseconds": (1.0,)}, "milliseconds need the table"),
    ({"table": "t"}, "table says what blocks take in milliseconds, and the budget is in mmacs"),
    ({"mmacs": (), "milliseconds": (1.0, 1.0), "table": "t"}, "milliseconds names a budget twice: 1, 1"),
    ({"mmacs": (), "milliseconds": (0.0,), "table": "t"}, "milliseconds is 0"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_budgets_that_do_not_go_together_are_refused(
    changes: dict[str, object], said: str, smallest: CmpConfig
) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(smallest, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"milliseconds": 1.0}, "milliseconds need the table"),
        ({"table": "t"}, "there is no limit of these; leave it out"),
        ({"milliseconds": 0.0, "table": "t"}, "milliseconds is 0"),
    ],
)
def test_limits_of_a_global_search_that_do_not_go_together_are_refused(
    changes: dict[str, object], said: str, identities: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        tiny(identities, **changes)


def limited(identities: Path, tmp_path: Path, **changes: object) -> GlobalConfig:
    """A global search with a table of multiply-adds as milliseconds."""
    config = tiny(identities, objective="retrieval", **changes)
    space = global_latency.block_space(config.bounds, 28, 8, config.stem_stride)
    save_block_table(table_of(space), tmp_path / "device.json")
    return config


def test_a_global_search_keeps_to_either_limit_and_to_both(identities: Path, tmp_path: Path) -> None:
    config = limited(identities, tmp_path)
    table = str(tmp_path / "device.json")
    prepared = prepare(replace(config, milliseconds=0.5, table=table, random=3), tmp_path / "run")
    assert prepared.milliseconds is not None
    members = [config.bounds.member(3, width) for width in (4, 5, 6)]
    for member in members:
        assert prepared.milliseconds(member) == pytest.approx(prepared.cost(member), rel=0.05)
    assert all(prepared.milliseconds(member) <= 0.5 for member in prepared.random)
    middle = prepared.cost(members[1]) * 1.02
    kept: Callable[[GlobalConfig], list[bool]] = lambda told: [  # noqa: E731
        fitting(told, prepared.cost, prepared.milliseconds)(member) for member in members
    ]
    assert kept(config) == [True, True, True]
    assert kept(replace(config, mmacs=middle)) == [True, True, False]
    assert kept(replace(config, milliseconds=middle, table=table)) == [True, True, False]
    assert kept(replace(config, mmacs=0.001 + prepared.cost(members[0]), milliseconds=9.0, table=table)) == [
        True, False, False,
    ]  # fmt: skip


def test_a_global_search_refuses_a_limit_out_of_reach_and_a_table_of_other_bounds(
    identities: Path, tmp_path: Path
) -> None:
    config = limited(identities, tmp_path)
    told = {"milliseconds": 0.001, "table": str(tmp_path / "device.json")}
    with pytest.raises(ConfigError, match=r"a limit of 0\.001 ms is out of reach: 3 layers of width 4 take"):
        prepare(replace(config, **told), tmp_path / "run")  # type: ignore[arg-type]
    wider = replace(config, bounds=replace(config.bounds, max_width=8))
    with pytest.raises(ConfigError, match=r"the table of blocks is of space .*width=4-6.*width=4-8"):
        prepare(replace(wider, **told), tmp_path / "run")  # type: ignore[arg-type]
