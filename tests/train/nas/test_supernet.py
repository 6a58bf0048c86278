"""The network of all members: shared weights, what a step touches, and what members are taken out as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_sdk.metrics import Metric
from compat_train.config.parts import Optimisation
from compat_train.methods.centred_output import Cone, write_mean
from compat_train.models.layers import fold_batch_norms
from compat_train.models.search_space import SCALES, Member, space_named
from compat_train.models.supernet import Supernet, take_member
from compat_train.nas.cmp import candidate
from compat_train.nas.cmp.candidate import CandidateEvaluator, recalibrate
from compat_train.nas.cmp.config import SupernetConfig
from compat_train.nas.cmp.cost import cost_table
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import MemberSchedule
from compat_train.nas.cmp.validation import Validation
from compat_train.optimiser import _moments, make_optimiser, parts_alone

SPACES = {
    "shuffle": "shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=16",
    "ane": "ane,stem=4,channels=8-8-16-16,repeats=1-2-1-1,last=16",
}


def drawn(name: str, seed: int) -> Member:
    table = cost_table(space_named(name), size=32, dim=8)
    return MemberSampler(table).draw(np.random.default_rng(seed), table.lowest, table.highest)


@pytest.mark.parametrize("kind", SPACES)
def test_a_member_taken_out_computes_what_the_supernet_does(kind: str) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space_named(SPACES[kind]), dim=8)
    images = torch.randn(6, 3, 32, 32)
    for seed in range(4):
        member = drawn(SPACES[kind], seed)
        network = take_member(supernet.state_dict(), member, dim=8, stem_stride=1).train()
        with torch.no_grad():
            torch.testing.assert_close(network(images), supernet(images, member))


def test_a_step_leaves_blocks_that_were_not_drawn_untouched_by_decay_and_momentum() -> None:
    torch.manual_seed(0)
    supernet = Supernet(space_named(SPACES["shuffle"]), dim=8)
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    images = torch.randn(4, 3, 32, 32)
    first, second = (Member(supernet.space, (operation,) * 5, (4,) * 5) for operation in (0, 1))
    for _ in range(2):
        optimiser.zero_grad(set_to_none=True)
        supernet(images, first).square().mean().backward()
        optimiser.step()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    optimiser.zero_grad(set_to_none=True)
    supernet(images, second).square().mean().backward()
    optimiser.step()
    for name, value in supernet.state_dict().items():
        chosen = ".1." in name.split("branch")[0].split("shortcut")[0]
        if name.startswith("blocks."):
            chosen = name.split(".")[2] == "1"
            assert torch.equal(value, before[name]) != chosen, name


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("space", ["shuffle", "ane"])
def test_a_step_moves_the_channels_of_its_member_alone(space: str, optimiser: str) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space_named(SPACES[space]), dim=8)
    blocks = len(supernet.blocks)
    members = [Member(supernet.space, (0,) * blocks, (scale,) * blocks) for scale in (len(SCALES) - 1, 2, 2)]
    images = torch.randn(4, 3, 32, 32)
    optimisation = Optimisation(epochs=1, weight_decay=0.1, optimiser=optimiser)  # type: ignore[arg-type]
    stepper = make_optimiser(supernet, optimisation)
    seen = []
    for member in members:
        stepper.zero_grad(set_to_none=True)
        supernet(images, member).square().mean().backward()
        with parts_alone(stepper, supernet.drawn_parts(member)):
            stepper.step()
        moments = {
            f"{name}.{key}": value.clone()
            for name, weight in supernet.named_parameters()
            for key, value in _moments(stepper, weight).items()
        }
        seen.append({name: value.clone() for name, value in supernet.state_dict().items()} | moments)
    narrow = take_member(supernet.state_dict(), members[1], dim=8, stem_stride=1).state_dict()
    for name, value in narrow.items():
        full = name
        if name.startswith("blocks."):
            _, block, rest = name.split(".", 2)
            full = f"blocks.{block}.0.{rest}"
        for kind in ("", *(f".{key}" for key in ("momentum_buffer", "exp_avg", "exp_avg_sq"))):
            if full + kind in seen[0]:
                part = tuple(slice(0, side) for side in value.shape)
                first, second = seen[0][full + kind].clone(), seen[1][full + kind].clone()
                assert not torch.equal(first[part], second[part]), full + kind
                first[part], second[part] = 0, 0
                assert torch.equal(first, second), full + kind


def test_the_supernet_keeps_no_statistics_and_no_affine_parameters() -> None:
    supernet = Supernet(space_named(SPACES["shuffle"]), dim=8)
    assert all(value.dim() == 4 or name.startswith("head.") for name, value in supernet.state_dict().items())


def test_recalibration_gives_the_statistics_of_the_images_and_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    supernet = Supernet(space_named(SPACES["shuffle"]), dim=8)
    network = take_member(supernet.state_dict(), drawn(SPACES["shuffle"], 0), dim=8, stem_stride=1)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    preprocessing = Preprocessing(size=32)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (preprocessing.mean, preprocessing.std))
    stem = network.stem[0]((images - mean) / std).detach()
    assert not torch.allclose(network.stem[1].running_mean, stem.mean((0, 2, 3)), atol=1e-3)
    with pytest.raises(TrainingError, match="64 images are too few to recalibrate batch norms on in batches of 65"):
        recalibrate(network, pixels, preprocessing, batch=65)
    recalibrate(network, pixels, preprocessing, batch=16)
    torch.testing.assert_close(network.stem[1].running_mean, stem.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        before = network(images)
        torch.testing.assert_close(fold_batch_norms(network)(images), before, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("cone", [None, Cone(torch.linspace(-0.4, 0.4, 8), 0.5)], ids=["plain", "centred"])
def test_a_candidate_is_judged_with_statistics_of_its_own(
    cone: Cone | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    member, preprocessing = drawn(SPACES["shuffle"], 0), Preprocessing(size=32)
    state = Supernet(member.space, dim=8).state_dict()
    kept = state | ({} if cone is None else cone.to_state())
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    labels, unit = np.arange(8), np.eye(8, dtype=np.float32)
    images = Validation(pixels, labels, pixels, labels, unit, calibration=pixels)
    judged: list[torch.nn.Module] = []

    def embed(network: torch.nn.Module, *_: object, **__: object) -> np.ndarray:
        judged.append(network)
        return unit

    (tmp_path / "weights").write_bytes(b"")
    monkeypatch.setattr(candidate, "read_tensors", lambda *_: kept)
    monkeypatch.setattr(candidate, "embed_images", embed)
    monkeypatch.setattr(candidate.Validation, "load", lambda _: images)
    evaluator = CandidateEvaluator(tmp_path / "weights", tmp_path, preprocessing, 8, 1, metric=Metric(), batch=4)
    assert evaluator()(member, "across").across == 1
    expected = take_member(state, member, dim=8, stem_stride=1)
    recalibrate(expected, pixels, preprocessing, batch=4)
    if cone is not None:
        write_mean(expected, cone, pixels, np.arange(8), preprocessing, torch.device("cpu"))
    given = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(judged[0](given), expected(given), atol=1e-4, rtol=1e-3)


def test_the_schedule_opens_the_scales_from_the_largest_and_is_a_function_of_the_step() -> None:
    table = cost_table(space_named("shuffle"), size=112)
    config = SupernetConfig(channel_warmup=0.5)
    schedule = MemberSchedule(table, config, budget=330, steps=100, seed=3)
    opened = [schedule.open_scales(step) for step in range(100)]
    assert opened[0] == 1 and opened[50] == len(SCALES) and opened == sorted(opened)
    assert set(range(1, 11)) == set(opened)
    assert schedule.member(0).scales == (9,) * 20
    again = MemberSchedule(table, config, budget=330, steps=100, seed=3)
    assert [schedule.member(step) for step in (7, 80)] == [again.member(step) for step in (7, 80)]


def test_stratified_draws_train_the_smallest_tier_and_uniform_ones_do_not() -> None:
    table = cost_table(space_named("shuffle"), size=112)

    def costs(bins: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        schedule = MemberSchedule(
            table, SupernetConfig(bins=bins, operation_warmup=0, channel_warmup=0), budget=330, steps=400, seed=0
        )
        return np.array([table.cost(schedule.member(step)) for step in range(400)])

    stratified, uniform = costs(6), costs(0)
    assert stratified.max() <= 330 and (stratified < 140).mean() > 0.1
    assert (uniform < 140).mean() == 0
