"""The listing of networks, presets, and a network that is not there, before any picture is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compat_cli.commands.settings import COMMANDS
from compat_cli.settings import SettingsCommand, as_json, as_text
from compat_sdk.errors import ConfigError
from compat_train.config.presets import NAMES, presets_of
from compat_train.models import build_model, count_cost
from tests.cli.test_cli import run as run_captured
from tests.cli.test_settings import config, told

Run = Callable[..., tuple[int, str, str]]
EACH = [pytest.param(command, id=" ".join(words)) for words, command in COMMANDS.items()]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a command line."""
    return lambda *words: run_captured(capsys, *words)


def test_a_network_is_listed_with_what_it_costs(run: Run) -> None:
    code, out, _ = run("archs", "shufflenet_v*", "--size", 32, "--width", 0.5, "--dim", 16, "--json")
    found = {each["arch"]: each for each in json.loads(out)["archs"]}
    assert code == 0 and list(found) == ["shufflenet_v1", "shufflenet_v2"]
    cost = count_cost(build_model("shufflenet_v2", width=0.5, dim=16).eval(), 32)
    assert (found["shufflenet_v2"]["mmacs"], found["shufflenet_v2"]["params_m"]) == (cost.mmacs, cost.params_m)
    text = run("archs", "shufflenet_v2", "--size", 32)[1]
    assert text.startswith("architecture") and "at 32 pixels, width 1, 128 numbers" in text


def test_a_name_that_is_not_there_gets_the_nearest(run: Run) -> None:
    code, out, err = run("archs", "resnet5")
    assert (code, out) == (2, "") and "nearest: resnet50" in err


@pytest.mark.parametrize(
    "words",
    [
        ("train", "gallery"),
        ("train", "side-info"),
    ],
    ids=" ".join,
)
def test_a_wrong_network_is_refused_before_a_picture_is_decoded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("compat_train.data.training_set.decode_split", None)
    code, _, err = run(*words, "--data", "sample", "--arch", "shuflenet_v2", "--out", tmp_path / "out")
    assert code == 2 and "nearest: shufflenet_v2" in err and "`compat-sdk archs`" in err
    assert not (tmp_path / "out" / "pixels").exists()


def test_a_wrong_static_network_of_a_search_is_refused_before_anything(tmp_path: Path) -> None:
    from compat_train.config.settings import config_from_mapping
    from compat_train.nas.cmp.config import CmpConfig
    from compat_train.nas.cmp.run import search_query_models

    told = {"source": {"data": "sample"}, "gallery": "nowhere", "mmacs": [100.0], "static": ["shuflenet_v2"]}
    with pytest.raises(ConfigError, match="nearest: shufflenet_v2"):
        search_query_models(config_from_mapping(CmpConfig, told), tmp_path / "out")


def test_profile_refuses_a_wrong_name_before_it_measures_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_cli.commands.profile.measure", None)
    code, _, err = run("profile", "shufflenet_v2", "shuflenet_v2")
    assert code == 2 and "nearest: shufflenet_v2" in err


@pytest.mark.parametrize("command", EACH)
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_lies_over_the_defaults_and_under_every_option(command: SettingsCommand, name: str) -> None:
    words = " ".join(command.words)
    given = presets_of(words)[name]
    listed = {entry["key"]: entry for entry in as_json(command)}
    assert given and all(listed[key]["presets"][name] == value for key, value in given.items())
    assert f"; --preset {name}: " in as_text(command)
    config(command, "--preset", name)
    key = next(key for key, value in given.items() if isinstance(value, int | float) and not isinstance(value, bool))
    values = told(command, "--preset", name, "--set", f"{key}={int(given[key]) + 1}").values
    for part in key.split("."):
        values = values[part]
    assert values == int(given[key]) + 1


def test_a_preset_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of laptop, gpu"):
        told(COMMANDS["train", "gallery"], "--preset", "phone")
