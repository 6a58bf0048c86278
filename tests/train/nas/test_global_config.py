"""What a global search is told: the paper's defaults, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from compat_sdk.errors import ConfigError
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Classification, Source
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_from_mapping
from compat_train.nas.global_nas.config import CUTOUT, MOBILE, PRESETS, TINY, GlobalConfig
from compat_train.nas.global_nas.schedule import Schedule
from tests.train.nas.test_global_run import tiny


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "speed"}, "objective is 'speed'; expected one of accuracy, retrieval, r3"),
        ({"ranking": "random"}, "ranking is 'random'"),
        ({"macro_epochs": 0}, "macro_epochs is 0"),
        ({"micro_epochs": 0}, "micro_epochs is 0"),
        ({"final_epochs": 0}, "final_epochs is 0"),
        ({"gain": -0.1}, "gain is -0.1"),
        ({"drop": -0.1}, "drop is -0.1"),
        ({"augmentation": Augmentation(random_crop=0.2, canvas=40)}, "canvas is 40, but a search takes crops"),
        ({"strikes": 0}, "strikes is 0"),
        ({"random": -1}, "random is -1"),
        ({"mmacs": 0.0}, "mmacs is 0.0"),
        ({"held_out": 0.9}, "held_out is 0.9"),
        ({"dim": 1}, "dim is 1"),
        ({"stem_stride": 3}, "stem_stride is 3"),
        ({"optimisation": Schedule(warmup_epochs=2)}, "warmup_epochs is 2"),
        ({"mmacs": math.inf}, "mmacs is inf; expected a finite number above 0"),
        ({"objective": "r3", "gallery": "g", "method": "finetune"}, "which no network of this space can take"),
        (
            {"objective": "r3", "gallery": "g", "dim": None, "preprocessing": None, "method": "kd"},
            "could not search it",
        ),
        ({"objective": "r3"}, "measured against a gallery model; set gallery"),
        ({"objective": "r3", "gallery": "g"}, "dim is set, but objective 'r3' takes the gallery run's"),
        ({"objective": "r3", "gallery": "g", "dim": None}, r"preprocessing \(size\) is set"),
        ({"objective": "r3", "gallery": "g", "dim": None, "preprocessing": None, "held_out": 0.1}, "held_out is set"),
        ({"gallery": "g"}, "objective 'accuracy' has no gallery model; leave out gallery"),
        ({"objective": "retrieval", "method": "bct", "mixed": True}, "leave out method, mixed"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tiny("sample", **changes)


def test_a_table_that_says_one_thing_leaves_the_searches_other_defaults() -> None:
    def config(defaults: dict[str, Any] | None = None, **tables: Any) -> GlobalConfig:
        values = {"source": {"data": "sample"}, **tables}
        return config_from_mapping(GlobalConfig, values, "global.", defaults=defaults)

    gallerys = {"classification": Classification(margin=0.3, scale=30.0)}

    found = config(augmentation={"flip": True}, classification={"scale": 20})
    assert found.augmentation == Augmentation(cutout=0.5, flip=True)
    assert found.classification == Classification(loss="norm-softmax", margin=0.0, scale=20.0)
    assert config().augmentation == CUTOUT and config().classification is None
    # Another loss has its own margin and scale.
    assert config(classification={"loss": "arcface"}).classification == Classification(loss="arcface")
    against = config(gallerys, objective="r3", gallery="g", classification={"scale": 20})
    assert against.classification == Classification(margin=0.3, scale=20)
    with pytest.raises(
        ConfigError, match=r"global\.classification leaves out loss, margin, and what they are otherwise"
    ):
        config(objective="r3", gallery="g", classification={"scale": 20})
    with pytest.raises(
        ConfigError, match=r"global\.classification\.margin is 0\.2, but the loss norm-softmax has none"
    ):
        config(classification={"margin": 0.2})
    with pytest.raises(ConfigError, match="the loss norm-softmax has none"):
        config(gallerys, objective="r3", gallery="g", classification={"loss": "norm-softmax", "margin": 0.2})
    with pytest.raises(ConfigError, match=r"global\.micro is false, which leaves nothing for micro_epochs to say"):
        config(micro=False, micro_epochs=7)
    for tables in ({"augmentation": 3}, {"classification": "cosface"}):
        with pytest.raises(ConfigError, match="expected a table of settings"):
            config(**tables)


def test_the_bounds_for_faces_end_in_the_papers_last_channels() -> None:
    # R-58-256 and R-34-512.
    assert PRESETS["face-small"].member(58, 32).widths[-1] == 256
    assert PRESETS["face-medium"].member(34, 64).widths[-1] == 512
    assert PRESETS["tiny"] == TINY and PRESETS["mobile"] == MOBILE


def test_the_defaults_are_the_papers() -> None:
    config = GlobalConfig(source=Source(data="sample"))
    training = config.training("global:plain:8:s3s3s3", 600)
    assert isinstance(training, GalleryConfig)
    schedule = training.optimisation
    assert (schedule.batch, schedule.lr, schedule.momentum, schedule.weight_decay) == (64, 0.025, 0.9, 3e-4)
    assert (schedule.epochs, schedule.schedule, schedule.warmup_epochs, schedule.optimiser) == (600, "cosine", 0, "sgd")
    assert (config.macro_epochs, config.micro_epochs, config.final_epochs) == (10, 2, 600)
    assert (config.gain, config.drop, config.strikes, config.augmentation.cutout) == (0.1, 0.05, 3, 0.5)
    assert training.classification == Classification(loss="norm-softmax", margin=0.0, scale=16.0)
    assert (TINY.min_depth, TINY.max_depth, TINY.min_width, TINY.max_width, TINY.width_step) == (10, 100, 16, 64, 2)
    assert replace(MOBILE, max_width=64) == TINY and MOBILE.max_width == 128
    against = GlobalConfig(source=Source(data="sample"), objective="r3", gallery="g").training("resnet18", 3)
    assert isinstance(against, QueryConfig) and against.method == "bct" and against.optimisation.epochs == 3
    with pytest.raises(ConfigError, match=r"^lr is 0"):
        Schedule(lr=0)
    with pytest.raises(ConfigError, match=r"warmup_epochs is inf; expected a finite number at least 0"):
        Schedule(warmup_epochs=math.inf)
