"""M(q,g) on held-out images during training: what is right, what is said, and what stays as it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compat_sdk.datasets import Split
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.data.held_out import held_out_count, hold_out
from compat_train.methods.watched import same_label
from compat_train.runs.log import read_looks
from compat_train.watch import Look, Watch, chance_of, deaf, hits_at_1, is_due, summary

CPU = torch.device("cpu")
PLAIN = Preprocessing(size=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Pixels(nn.Module):
    """Its embedding is the pixel, and a batch norm that must stay as it is stands beside."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        self.norm(images)
        return images.flatten(1)


def watch(network: nn.Module, pixels: list[list[int]], **values: object) -> Watch:
    shown = np.array(pixels, np.uint8).reshape(-1, 1, 1, 3)
    of_gallery = torch.eye(3)[: len(shown)]
    settings = {
        "searched": torch.eye(3),
        "right": torch.eye(3, dtype=torch.bool)[: len(shown)],
        "by": "images",
    } | values
    return Watch(network, shown, of_gallery, preprocessing=PLAIN, device=CPU, **settings)  # type: ignore[arg-type]


def test_each_image_searches_for_its_own_gallery_vector() -> None:
    look = watch(Pixels(), [[9, 1, 0], [5, 4, 0], [0, 0, 7]]).look(40)
    assert (look.step, look.queries, look.gallery, look.by) == (40, 3, 3, "images")
    assert look.accuracy == pytest.approx(2 / 3) and look.chance == pytest.approx(1 / 3)
    cosines = [9 / 82**0.5, 4 / 41**0.5, 1.0]
    assert look.cosine == pytest.approx(sum(cosines) / 3)


def test_by_labels_an_image_does_not_find_itself() -> None:
    # The second and the third have one label; the nearest of the second is itself, then the first.
    right = torch.tensor([[False, False, True], [False, True, False]])
    own = torch.tensor([[False, True, False], [False, False, True]])
    found = watch(Pixels(), [[4, 9, 1], [0, 3, 9]], right=right, hidden=own, by="labels").look(1)
    assert found.accuracy == pytest.approx(0.5) and found.chance == pytest.approx(0.5)


def test_a_look_changes_nothing_of_the_training() -> None:
    network = Pixels().train()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    watch(network, [[9, 1, 0]]).look(1)
    assert network.training and not network.norm.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_that_puts_out_nothing_finite_finds_nothing_and_stops_nothing() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) * float("nan")

    look = watch(Broken(), [[1, 2, 3]]).look(1)
    assert look.cosine == 0.0 and 0.0 <= look.accuracy <= 1.0


LOOK = Look(step=100, accuracy=0.02, chance=0.005, cosine=0.8, queries=200, gallery=200, by="images")


@pytest.mark.parametrize(
    ("values", "near"),
    [
        ({}, True),
        ({"accuracy": 0.03}, True),  # five times chance, and one image
        ({"accuracy": 0.031}, False),
        ({"chance": 0.0005}, True),  # 2 % of a hundred images is not worth its name either
        ({"chance": 0.0005, "accuracy": 0.021}, False),
        ({"queries": 49}, False),  # too few to tell
        ({"gallery": 20}, False),
        ({"chance": 0.2, "accuracy": 0.2}, False),  # five times that is everything
    ],
)
def test_near_chance_is_up_to_five_times_what_guessing_gives(values: dict[str, float], near: bool) -> None:
    assert dataclasses.replace(LOOK, **values).near_chance == near  # type: ignore[arg-type]


def test_closeness_that_rises_without_retrieval_is_said() -> None:
    first = dataclasses.replace(LOOK, step=0, cosine=0.1)
    said = deaf(first, LOOK, 400)
    assert "risen from 0.10 to 0.80" in said and "near chance: M(q,g) 2.0 % at top-1 of 200" in said
    assert deaf(first, LOOK, 401) == ""  # in the first quarter
    assert deaf(dataclasses.replace(first, cosine=0.76), LOOK, 400) == ""
    assert deaf(first, dataclasses.replace(LOOK, accuracy=0.5), 400) == ""


def test_a_look_is_the_same_after_json() -> None:
    assert LOOK.to_json()["near_chance"] is True
    assert Look.from_json(LOOK.to_json()) == LOOK


@pytest.mark.parametrize(("steps", "looks"), [(1, 2), (7, 8), (20, 21), (1000, 21), (1013, 22)])
def test_looks_are_few_and_the_first_and_the_last_step_are_among_them(steps: int, looks: int) -> None:
    due = [step for step in range(steps + 1) if is_due(step, steps)]
    assert due[0] == 0 and due[-1] == steps and len(due) == looks


def test_images_without_a_label_have_none_in_common() -> None:
    assert same_label(["a", "b", "a", "", ""]).nonzero().tolist() == [[0, 2], [2, 0]]


def split(count: int, labels: tuple[str, ...] = ()) -> Split:
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1)
    return Split("train", images, labels or ("",) * count, tuple(f"{row}.png" for row in range(count)))


def test_images_without_labels_are_held_out_one_in_twenty_and_those_with_labels_are_not() -> None:
    assert [held_out_count(split(count), None) for count in (19, 20, 100, 200)] == [0, 1, 5, 10]
    assert held_out_count(split(4, ("a", "a", "b", "b")), None) == 0
    assert held_out_count(split(4, ("a", "a", "b", "b")), 2) == 2
    with pytest.raises(ConfigError, match="held_out is 3, more than half of the 4 training images"):
        held_out_count(split(4), 3)


def test_every_image_is_on_one_side_and_stays_there_when_others_go() -> None:
    kept, held = hold_out(split(40), 8)
    assert len(kept) == 32 and sorted([*kept.ids, *held.ids]) == sorted(split(40).ids)
    assert {name: int(image[0, 0]) for name, image in zip(held.ids, held.images, strict=True)} == {
        name: int(name.removesuffix(".png")) for name in held.ids
    }
    fewer, again = hold_out(kept, 4)
    assert set(again.ids).isdisjoint(held.ids) and len(fewer) == 28
    assert set(hold_out(split(40), 4)[1].ids) <= set(held.ids)


def test_the_last_line_of_a_training_has_its_first_and_its_last_look_and_a_warning() -> None:
    rows = [dataclasses.replace(LOOK, step=0, cosine=0.1).to_json(), LOOK.to_json()]
    assert summary(rows) == (
        "warning: retrieval is near chance: M(q,g) 2.0 % at top-1 of 200 held-out images by their own gallery vectors "
        "among 200 (chance 0.5 %), cosine 0.800; before the first step M(q,g) 2.0 %, cosine 0.100"
    )
    assert summary([dataclasses.replace(LOOK, accuracy=0.9).to_json()]).startswith("M(q,g) 90.0 % at top-1")


def test_looks_are_read_up_to_the_first_that_is_cut_off_or_is_none(tmp_path: Path) -> None:
    whole = json.dumps(LOOK.to_json())
    for spoilt in (whole[:30], '{"step": 3}', whole.replace('"accuracy": 0.02', '"accuracy": "0"'), "[]"):
        (tmp_path / "held_out.jsonl").write_text(f"{whole}\n{spoilt}\n{whole}\n")
        assert [Look.from_json(row) for row in read_looks(tmp_path)] == [LOOK]
    assert read_looks(tmp_path / "none") == []


@pytest.mark.parametrize("own", [False, True])
def test_hits_and_chance_are_those_of_a_loop(own: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(12, 5, generator=generator))
    right = torch.rand(12, 12, generator=generator) < 0.4
    hidden = torch.eye(12, dtype=torch.bool) if own else None
    hits, chances = [], []
    for query in range(12):
        open_to = [row for row in range(12) if not (own and row == query)]
        nearest = max(open_to, key=lambda row: float(vectors[query] @ vectors[row]))
        hits.append(bool(right[query, nearest]))
        chances.append(int(right[query].sum()) / len(open_to))
    assert hits_at_1(vectors, vectors, right, hidden).tolist() == hits
    assert chance_of(right, hidden) == pytest.approx(sum(chances) / 12)
