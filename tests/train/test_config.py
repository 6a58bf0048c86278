from __future__ import annotations

import pytest

from compat_sdk.errors import ConfigError
from compat_train.config import (
    Augmentation,
    Classification,
    GalleryConfig,
    Optimisation,
    QueryConfig,
    Source,
    config_from_mapping,
    config_to_json,
)


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (Optimisation, {"epochs": 0}, "epochs"),
        (Optimisation, {"batch": 1}, "batch"),
        (Optimisation, {"lr": 0.0}, "lr"),
        (Optimisation, {"lr": float("nan")}, "lr"),
        (Optimisation, {"warmup_epochs": 40.0}, "warmup_epochs"),
        (Optimisation, {"milestones": (3,)}, "milestones"),
        (Optimisation, {"schedule": "step"}, "milestones"),
        (Augmentation, {"shift": 0.9}, "shift"),
        (Classification, {"scale": -1.0}, "scale"),
        (Classification, {"loss": "arcface"}, "cosface"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(kind: type, values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        kind(**values)


def test_a_configuration_survives_json() -> None:
    config = GalleryConfig(source=Source(data="sample"), optimisation=Optimisation(schedule="step", milestones=(8, 12)))
    assert config_from_mapping(GalleryConfig, config_to_json(config)) == config


def test_an_unknown_setting_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"optimisation\.learning_rate"):
        config_from_mapping(GalleryConfig, {"source": {"data": "x"}, "optimisation": {"learning_rate": 1}})


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"missing setting source\.data"):
        config_from_mapping(GalleryConfig, {"source": {}})


def test_a_wrong_type_is_named() -> None:
    with pytest.raises(ConfigError, match=r"optimisation\.epochs is 'many'; expected int"):
        config_from_mapping(GalleryConfig, {"source": {"data": "x"}, "optimisation": {"epochs": "many"}})


def test_the_methods_are_weights_of_equation_1() -> None:
    def weights(**values: object) -> dict[str, float]:
        return QueryConfig(source=Source(data="x"), gallery="g", **values).weights  # type: ignore[arg-type]

    assert weights(method="vanilla") == {"own": 1, "gallery": 0, "kd": 0, "regression": 0}
    assert weights(method="bct") == {"own": 1, "gallery": 1, "kd": 0, "regression": 0}
    assert weights(method="bct", gallery_term=3.0)["gallery"] == 3
    assert weights(method="kd")["kd"] == 1


def test_only_methods_that_draw_into_the_gallery_space_may_declare_it() -> None:
    def compatible(method: str) -> bool:
        return QueryConfig(source=Source(data="x"), gallery="g", method=method).compatible  # type: ignore[arg-type]

    assert [compatible(m) for m in ("vanilla", "kd", "finetune", "bct", "regression")] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_mixed_images_without_a_regression_are_refused() -> None:
    with pytest.raises(ConfigError, match="regression"):
        QueryConfig(source=Source(data="x"), gallery="g", method="bct", mixed=True)
