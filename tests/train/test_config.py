from __future__ import annotations

from pathlib import Path

import pytest

from compat_sdk.errors import ConfigError
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Classification, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.scenario import Scenario
from compat_train.config.settings import config_from_mapping, config_to_json
from compat_train.config.toml import read_toml


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
        (Augmentation, {"cutout": 1.1}, "cutout"),
        (Classification, {"scale": -1.0}, "scale"),
        (Classification, {"loss": "sphereface"}, "cosface, arcface"),
        (Scenario, {"fraction": 0.0}, "fraction is"),
        (Scenario, {"class_fraction": 1.5}, "class_fraction is"),
        (Scenario, {"classes": "first"}, "such as '0-499'"),
        (Scenario, {"classes": "9-3"}, "the smaller number first"),
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
        return QueryConfig(source=Source(data="x"), gallery="g", **values).term_weights  # type: ignore[arg-type]

    def others(**given: float) -> dict[str, float]:
        names = ("own", "gallery", "kd", "focal", "regression", "alignment", "boundary", "adaptation", "csd", "infonce")
        return dict.fromkeys((*names, "aml"), 0.0) | given

    assert weights(method="vanilla") == others(own=1)
    assert weights(method="bct") == weights(method="dmu", adaptation=0.0) == others(own=1, gallery=1)
    assert weights(method="dmu") == others(own=1, gallery=1, adaptation=1)
    assert weights(method="lce") == others(own=1, alignment=100, boundary=1)
    assert weights(method="unibct") == others(own=1, gallery=1) and weights(method="focal") == others(own=1, focal=1)
    assert weights(method="bct", gallery_term=3.0)["gallery"] == 3
    assert weights(method="kd")["kd"] == 1
    assert weights(method="regression-centred") == weights(method="regression") == others(regression=20)
    for name in ("csd", "infonce", "aml"):
        assert [term for term, weight in weights(method=name).items() if weight] == [name]


def test_only_methods_that_draw_into_the_gallery_space_may_declare_it() -> None:
    def compatible(method: str) -> bool:
        return QueryConfig(source=Source(data="x"), gallery="g", method=method).compatible  # type: ignore[arg-type]

    assert not compatible("vanilla") and not compatible("kd")
    drawing = ("finetune", "bct", "regression", "dmu", "lce", "unibct", "focal")
    assert all(compatible(method) for method in drawing)


def test_mixed_images_without_a_regression_are_refused() -> None:
    with pytest.raises(ConfigError, match="regression"):
        QueryConfig(source=Source(data="x"), gallery="g", method="bct", mixed=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"method": "bct", "selection": "entropy"}, "it needs method 'dmu'"),
        ({"method": "dmu", "selection": "uniform", "selection_scale": 30.0}, "has no scale"),
        ({"method": "dmu", "selection": "certainty", "selection_temperature": 0.1}, "no softmax over the batch"),
        ({"method": "dmu", "regression": 1.0, "mixed": True}, "mixed images have no weights"),
        ({"method": "regression", "unseen": "prototypes"}, "weight 0 here"),
        ({"method": "dmu", "selection_temperature": 0.0}, "selection_temperature is 0.0; expected above 0"),
        ({"role": "old"}, "role is 'old'"),
    ],
)
def test_settings_that_would_change_nothing_or_clash_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        QueryConfig(source=Source(data="x"), gallery="g", **values)  # type: ignore[arg-type]


def test_a_run_of_version_0_2_has_the_same_settings_as_today() -> None:
    # Written out: a field that is added without ADDED would make every finished run "another run".
    query = config_to_json(QueryConfig(source=Source(data="x"), gallery="g"))
    assert sorted(query) == [
        "arch", "augmentation", "classification", "execution", "gallery", "gallery_term", "inherit", "kd", "license",
        "method", "mixed", "optimisation", "own", "regression", "source", "stem_stride", "temperature", "width",
    ]  # fmt: skip
    assert query["source"] == {"data": "x", "root": None, "unreadable": 0}
    assert sorted(query["augmentation"]) == ["colour", "flip", "rotate", "shift", "zoom"]
    assert sorted(query["optimisation"]) == [
        "batch", "epochs", "lr", "milestones", "momentum", "schedule", "warmup_epochs", "weight_decay",
    ]  # fmt: skip


def test_a_new_setting_is_kept_where_it_is_not_its_default() -> None:
    config = QueryConfig(
        source=Source(data="x", scenario=Scenario(fraction=0.3, complement=True)),
        gallery="g",
        method="dmu",
        selection="least-confidence",
        unseen="prototypes",
        role="gallery",
        augmentation=Augmentation(cutout=0.5),
    )
    found = config_to_json(config)
    assert (found["selection"], found["unseen"], found["role"]) == ("least-confidence", "prototypes", "gallery")
    assert found["source"]["scenario"]["fraction"] == 0.3 and found["augmentation"]["cutout"] == 0.5
    assert config_from_mapping(QueryConfig, found) == config


def test_a_file_of_settings_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[source]\ndata = 'x'\n")
    assert read_toml(tmp_path / "a.toml") == {"source": {"data": "x"}}
