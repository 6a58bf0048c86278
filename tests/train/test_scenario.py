"""Scenarios of the papers: which images and classes the old and the new model see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Source
from compat_train.config.scenario import Scenario
from compat_train.data.scenario_rows import scenario_rows
from compat_train.data.training_set import load_training_set

LABELS = [f"{row % 10:02d}" for row in range(200)]
SMALL = Preprocessing(size=28)


def rows(**values: object) -> set[int]:
    return set(scenario_rows(Scenario(**values), LABELS).tolist())  # type: ignore[arg-type]


def classes(found: set[int]) -> set[str]:
    return {LABELS[row] for row in found}


def test_no_scenario_keeps_everything_in_order() -> None:
    assert Scenario().everything
    assert scenario_rows(Scenario(), LABELS).tolist() == list(range(200))


def test_extended_data_takes_a_fraction_of_each_class_and_smaller_ones_are_subsets() -> None:
    parts = [rows(fraction=fraction) for fraction in (0.25, 0.5, 0.75)]
    assert [len(part) for part in parts] == [50, 100, 150]
    assert parts[0] < parts[1] < parts[2]
    assert all(
        sum(LABELS[row] == "03" for row in part) == count for part, count in zip(parts, (5, 10, 15), strict=True)
    )


def test_open_data_is_the_rest_of_the_images_of_the_same_classes() -> None:
    old, new = rows(fraction=0.3), rows(fraction=0.3, complement=True)
    assert not old & new and len(old | new) == 200
    assert classes(old) == classes(new) and len(new) == 140


def test_extended_class_takes_first_or_random_classes_whole() -> None:
    assert classes(rows(class_fraction=0.3)) == {"00", "01", "02"}
    drawn = rows(class_fraction=0.3, class_order="random", seed=4)
    assert len(drawn) == 60 and len(classes(drawn)) == 3
    disjoint = rows(class_fraction=0.3, class_order="random", seed=4, complement=True)
    assert classes(disjoint) == classes(set(range(200))) - classes(drawn)


def test_class_ranges_include_their_ends() -> None:
    assert classes(rows(classes="0-2")) == {"00", "01", "02"}
    assert classes(rows(classes="1, 8-9")) == {"01", "08", "09"}
    assert len(rows(classes="0-4", class_fraction=0.4, fraction=0.5)) == 20


def test_the_same_seed_draws_the_same_images_whatever_else_is_there() -> None:
    assert rows(fraction=0.3, seed=1) == rows(fraction=0.3, seed=1) != rows(fraction=0.3, seed=2)
    fewer = [label for label in LABELS if label < "05"]
    kept = scenario_rows(Scenario(fraction=0.3, seed=1), fewer)
    of_all = [row for row in scenario_rows(Scenario(fraction=0.3, seed=1), LABELS).tolist() if LABELS[row] < "05"]
    place = {row: number for number, row in enumerate(row for row in range(200) if LABELS[row] < "05")}
    assert kept.tolist() == [place[row] for row in of_all]


def test_every_class_keeps_at_least_one_image() -> None:
    assert len(rows(fraction=0.001)) == 10


def test_a_range_beyond_the_classes_and_an_empty_rest_are_refused() -> None:
    with pytest.raises(DataError, match="10 classes; expected numbers from 0 to 9"):
        rows(classes="5-10")
    with pytest.raises(DataError, match=r"leaves none of 200 images.*leave complement out"):
        rows(complement=True)


def test_training_sees_what_the_scenario_leaves(clothes: Path) -> None:
    whole = load_training_set(Source(data=str(clothes)), SMALL)
    part = load_training_set(Source(data=str(clothes), scenario=Scenario(classes="1-2", fraction=0.5)), SMALL)
    assert part.classes == whole.classes[1:3] and len(part.labels) == 12
    kept = scenario_rows(Scenario(classes="1-2", fraction=0.5), [whole.classes[label] for label in whole.labels])
    assert np.array_equal(part.pixels, whole.pixels[kept])
    with pytest.raises(DataError, match="1 class; a classification loss needs at least 2; this is what Scenario"):
        load_training_set(Source(data=str(clothes), scenario=Scenario(classes="0")), SMALL)


def test_an_array_dataset_takes_scenarios_too() -> None:
    found = load_training_set(Source(data="sample", scenario=Scenario(class_fraction=0.3, fraction=0.1)), SMALL)
    assert len(found.classes) == 3 and np.bincount(found.labels).tolist() == [60, 60, 60]


def test_a_run_with_another_scenario_is_another_run(clothes: Path, tmp_path: Path) -> None:
    from compat_sdk.errors import TrainingError
    from compat_train.config.gallery import GalleryConfig
    from compat_train.config.parts import Execution, Optimisation
    from compat_train.methods.gallery import train_gallery

    def train(source: Source) -> str:
        config = GalleryConfig(
            source=source,
            arch="resnet18",
            width=0.125,
            dim=16,
            preprocessing=SMALL,
            optimisation=Optimisation(epochs=1, batch=16),
            execution=Execution(device="cpu"),
        )
        return train_gallery(config, tmp_path / "run").space

    space = train(Source(data=str(clothes)))
    record = json.loads((tmp_path / "run" / "model.json").read_text())
    assert "scenario" not in record["model"]["config"]["source"]  # as a run of version 0.2 has it
    assert train(Source(data=str(clothes), scenario=Scenario())) == space
    with pytest.raises(TrainingError, match="other settings"):
        train(Source(data=str(clothes), scenario=Scenario(fraction=0.5)))
