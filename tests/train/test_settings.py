"""Each table of each configuration lies over its owner's default, and each setting says what it is."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

import compat_train.config
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.checks import hints_of
from compat_train.config.fields import Setting, settings_of, tables_of
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification, Optimisation
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_from_json, config_from_mapping, config_to_json
from compat_train.config.upgrade import OPTIMISATION, VIEWS, SideInfoConfig, UpgradeConfig
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.global_nas.config import CUTOUT, SOFTMAX, GlobalConfig

REQUIRED: dict[str, Any] = {"source": {"data": "x"}, "gallery": "g", "mmacs": [100.0], "old": "o", "new": "n"}
LOSS = Classification(loss="arcface", margin=0.25, scale=30.0)
ANOTHERS: dict[str, Any] = {"classification": LOSS, "preprocessing": Preprocessing(size=96, resize="lanczos")}


def configurations() -> list[type[Any]]:
    """Every dataclass of the packages that hold configurations which has a table inside."""
    modules = [f"compat_train.config.{found.name}" for found in pkgutil.iter_modules(compat_train.config.__path__)]
    modules += ["compat_train.nas.cmp.config", "compat_train.nas.global_nas.config"]
    found = {
        kind
        for name in modules
        for kind in vars(importlib.import_module(name)).values()
        if isinstance(kind, type) and is_dataclass(kind) and tables_of(kind)
    }
    return sorted(found, key=lambda kind: kind.__name__)


KINDS = configurations()
RUNS = [kind for kind in KINDS if "execution" in hints_of(kind)]


def required_of(kind: type[Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    needed = {each.key.partition(".")[0] for each in settings_of(kind) if each.required}
    needed |= {"mmacs"} & names if kind is CmpConfig else set()  # or milliseconds
    return {name: REQUIRED.get(name, "x") for name in names & needed}


def nested(path: str, value: Any) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    return {name: nested(rest, value) if rest else value}


def reach(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = None if config is None else getattr(config, name)
    return config


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = {name for name in first.keys() & second.keys() if isinstance(second[name], dict)}
    return first | second | {name: merged(first[name], second[name]) for name in both}


def told(kind: type[Any], path: str, value: Any) -> Any:
    """The configuration where one setting is told; what another run would give is in `ANOTHERS`."""
    entry = {entry.name: entry for entry in fields(kind)}.get(path.partition(".")[0])
    of_another_run = entry is not None and entry.name in ANOTHERS and entry.default is None
    defaults = {entry.name: ANOTHERS[entry.name]} if entry and of_another_run and kind is not GlobalConfig else {}
    # Of the loss, without which it is refused, and of the images, without which there is none.
    counts = {"arc": 1.0, "source": {"data": "x"}} if kind is UpgradeConfig else {}
    return config_from_mapping(kind, merged(required_of(kind) | counts, nested(path, value)), defaults=defaults)


def partial_tables(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Every table of a configuration with each of the settings in it that have a default."""
    for table in tables_of(kind):
        for each in settings_of(kind):
            if each.key.rpartition(".")[0] == table and not each.required:
                yield table, each.key


def test_every_configuration_is_covered() -> None:
    names = {kind.__name__ for kind in RUNS}
    assert names == {"GalleryConfig", "QueryConfig", "SideInfoConfig", "UpgradeConfig", "CmpConfig", "GlobalConfig"}
    assert sum(len(list(partial_tables(kind))) for kind in KINDS) > 150


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_table_with_one_setting_keeps_its_owners_others(kind: type[Any]) -> None:
    untouched = config_from_mapping(kind, required_of(kind))
    for table, key in partial_tables(kind):
        owners = reach(untouched, table)
        if owners is None:  # decided by a method or by another run, where it is not told
            owners = reach(told(kind, table, {}), table)
        same = getattr(owners, key.rpartition(".")[2])
        assert reach(told(kind, key, list(same) if isinstance(same, tuple) else same), table) == owners, key


def test_a_query_model_with_another_batch_trains_as_long_and_as_fast() -> None:
    found = told(QueryConfig, "optimisation.batch", 64).optimisation
    assert found == Optimisation(epochs=32, lr=1.3, batch=64)
    assert told(GalleryConfig, "optimisation.batch", 64).optimisation == Optimisation(batch=64)


def test_tables_inside_tables_lie_over_their_owners_default() -> None:
    found = told(CmpConfig, "supernet.optimisation.batch", 64)
    assert found.supernet.optimisation == found.supernet.optimisation == Optimisation(epochs=32, lr=1.3, batch=64)
    assert (
        found.retrain == Optimisation(epochs=32, lr=1.3)
        and found.supernet.bins == CmpConfig(source=found.source, gallery="g", mmacs=(1.0,)).supernet.bins
    )
    assert told(CmpConfig, "retrain.lr", 0.5).retrain == Optimisation(epochs=32, lr=0.5)


def test_a_default_that_depends_on_the_method_is_that_of_the_method() -> None:
    values = merged(required_of(UpgradeConfig), {"optimisation": {"lr": 0.02}})
    assert config_from_mapping(UpgradeConfig, values).optimisation == replace(OPTIMISATION["fct"], lr=0.02)
    dmu = config_from_mapping(UpgradeConfig, values | {"method": "dmu"})
    assert dmu.optimisation == replace(OPTIMISATION["dmu"], lr=0.02)
    assert told(SideInfoConfig, "augmentation.flip", True).augmentation == replace(VIEWS, flip=True)
    other = config_from_mapping(SideInfoConfig, {**required_of(SideInfoConfig), "method": "mixup", "augmentation": {}})
    assert other.augmentation is not None and other.augmentation.views == 1
    assert told(GlobalConfig, "augmentation.shift", 0.1).augmentation == replace(CUTOUT, shift=0.1)
    alone = config_from_mapping(GlobalConfig, {**required_of(GlobalConfig), "classification": {"scale": 20.0}})
    assert alone.classification == replace(SOFTMAX, scale=20.0)
    size = config_from_mapping(GlobalConfig, {**required_of(GlobalConfig), "preprocessing": {"fit": "stretch"}})
    assert size.preprocessing == Preprocessing(size=32, fit="stretch")


@pytest.mark.parametrize("kind", [QueryConfig, CmpConfig, UpgradeConfig])
def test_a_part_of_a_loss_lies_over_that_of_the_other_run_or_is_refused(kind: type[Any]) -> None:
    values = merged(required_of(kind), {"classification": {"scale": 20.0}})
    if kind is UpgradeConfig:
        values |= {"arc": 1.0, "source": {"data": "x"}}
    found = config_from_mapping(kind, values, defaults={"classification": LOSS})
    assert found.classification == replace(LOSS, scale=20.0)
    with pytest.raises(ConfigError, match="classification leaves out loss, margin, and what they are otherwise"):
        config_from_mapping(kind, values)


def test_a_loss_without_a_margin_takes_none_from_the_other_run_and_refuses_one() -> None:
    chosen = {"loss": "norm-softmax"}
    values = merged(required_of(QueryConfig), {"classification": chosen})
    found = config_from_mapping(QueryConfig, values, defaults={"classification": LOSS.under(chosen)})
    assert found.classification == Classification(loss="norm-softmax", margin=0.0, scale=30.0)
    with pytest.raises(ConfigError, match=r"^query\.a\.classification\.margin is 0\.2, but the loss norm-softmax"):
        values["classification"] = {**chosen, "margin": 0.2, "scale": 3.0}
        config_from_mapping(QueryConfig, values, "query.a.")


@pytest.mark.parametrize("kind", RUNS, ids=lambda kind: kind.__name__)
def test_what_was_saved_is_read_back_whatever_its_owners_defaults(kind: type[Any]) -> None:
    config = config_from_mapping(kind, required_of(kind))
    assert config_from_json(kind, config_to_json(config)) == config
    assert config_from_mapping(kind, config_to_json(config, whole=True)) == config
    bare = replace(config, augmentation=replace(CUTOUT, cutout=0.0, flip=True))
    assert config_from_json(kind, config_to_json(bare)) == bare


@pytest.mark.parametrize("key", ["optimisation.lr", "execution.seed", "augmentation.shift", "source.unreadable"])
def test_an_error_names_the_place_of_its_setting_and_carries_it(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(GalleryConfig, key, -1)
    assert caught.value.setting == key and str(caught.value).startswith(f"{key} is -1")
    with pytest.raises(ConfigError, match=f"^cmp.{key.replace('optimisation', 'retrain')} is -1"):
        values = merged(required_of(CmpConfig), nested(key.replace("optimisation", "retrain"), -1))
        config_from_mapping(CmpConfig, values, "cmp.")


def every_setting() -> list[tuple[type[Any], Setting]]:
    return [(kind, each) for kind in RUNS for each in settings_of(kind)]


def test_every_setting_says_what_it_is_and_no_text_repeats_a_default() -> None:
    for kind, each in every_setting():
        where = f"{kind.__name__}.{each.key}"
        assert each.text and not each.text.endswith("."), where
        assert each.required or each.default_text, where
        assert "default" not in each.text, where
        if isinstance(each.default, int | float) and not isinstance(each.default, bool):
            number = re.escape(f"{each.default:g}")
            assert not re.search(rf"; {number}$|\({number}\)", each.text), where


@pytest.mark.parametrize("kind", RUNS, ids=lambda kind: kind.__name__)
def test_the_default_of_a_setting_is_that_of_the_configuration(kind: type[Any]) -> None:
    config = config_from_mapping(kind, required_of(kind))
    for each in settings_of(kind):
        if each.required or each.key in required_of(kind):
            continue
        found = reach(config, each.key)
        if each.default is not None:
            assert found == each.default or (each.otherwise is not None and found is None), each.key
        elif found not in (None, ()):
            assert (f"{found:g}" if isinstance(found, float) else str(found)) in each.default_text, each.key
