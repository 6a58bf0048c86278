"""Commands whose options are settings: their help, their listing and their configurations say the same."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compat_cli.commands.settings import COMMANDS
from compat_cli.settings import SettingsCommand, Told, as_json, as_toml
from compat_cli.settings.group import click_command, help_of
from compat_sdk.errors import ConfigError
from compat_train.config.fields import settings_of
from compat_train.config.parts import Optimisation
from tests.cli.options_0_7 import OPTIONS_0_7
from tests.cli.test_cli import run

EACH = [pytest.param(command, id=" ".join(words)) for words, command in COMMANDS.items()]
NEEDED = {"--data": "x", "--gallery": "g", "--mmacs": "100", "--old": "o", "--new": "n"}


def needed(command: SettingsCommand) -> list[str]:
    """Words for every setting that must be given."""
    flags = command.flags()
    either = ["--mmacs", NEEDED["--mmacs"]] * (command.words == ("nas", "cmp"))  # or milliseconds
    found = [flags[each.key] for each in command.settings() if each.required]
    return [*either, *(word for flag in found for word in (flag, NEEDED[flag]))]


def told(command: SettingsCommand, *words: object) -> Told:
    """What a command line tells, as far as the command's own work."""
    found: list[Told] = []
    caught = replace(command, run=lambda what, out, as_json: found.append(what))
    click_command(caught).main([*needed(command), "--out", "out", *map(str, words)], standalone_mode=False)
    return found[0]


def config(command: SettingsCommand, *words: object) -> Any:
    return told(command, *words).config(command.config())


def of(*words: str) -> SettingsCommand:
    return COMMANDS[words]


def options_of(command: SettingsCommand) -> dict[str, Any]:
    """Every option of a command by each of its names."""
    return {name: each for each in click_command(command).params for name in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("command", EACH)
def test_the_listing_has_every_setting_of_the_configuration_with_its_default(command: SettingsCommand) -> None:
    listed = {entry["key"]: entry for entry in as_json(command)}
    settings = {each.key: each for each in settings_of(command.config())}
    assert listed.keys() == settings.keys()
    for key, each in settings.items():
        entry = listed[key]
        assert entry["help"] == each.text and entry["default"] == each.default and entry["unit"] == each.unit
        assert entry["choices"] == list(each.choices)
    assert json.loads(json.dumps(listed))


@pytest.mark.parametrize("command", EACH)
def test_an_option_says_what_its_setting_says(command: SettingsCommand) -> None:
    options, settings = options_of(command), {each.key: each for each in settings_of(command.config())}
    for key, flag in command.flags().items():
        option = options[flag.partition("/")[0]]
        assert option.hidden == (key not in (*command.inputs, *command.shown)) or key != first_of(command, key)
        assert option.help.startswith(help_of(settings[first_of(command, key)]))
        if settings[key].choices and key == first_of(command, key):
            assert option.metavar == "|".join(settings[key].choices)
    for key in (*command.inputs, *command.shown):
        assert key in settings and key in command.flags()
    assert 9 <= len(command.shown) <= 12, "the settings that people set, and no more"


def first_of(command: SettingsCommand, key: str) -> str:
    return next((each.keys[0] for each in command.named if key in each.keys), key)


@pytest.mark.parametrize("command", EACH)
def test_every_option_of_version_0_7_goes_on_working(command: SettingsCommand) -> None:
    assert not set(OPTIONS_0_7[" ".join(command.words)]) - options_of(command).keys()


@pytest.mark.parametrize("command", EACH)
def test_the_file_that_settings_writes_changes_nothing(command: SettingsCommand, tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text(as_toml(command))
    assert tomllib.loads(path.read_text())
    assert config(command, "--config", path) == config(command)


def test_an_option_stands_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = tmp_path / "query.toml"
    path.write_text("method = 'kd'\ntemperature = 2\n[optimisation]\nlr = 0.5\nbatch = 64\n")
    found = config(of("train", "query"), "--config", path, "--lr", 0.25, "--set", "temperature=3")
    assert (found.method, found.temperature) == ("kd", 3.0)
    assert found.optimisation == Optimisation(epochs=32, lr=0.25, batch=64)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("optimisation.gradient_norm=5", 5.0),
        ("license=MIT", "MIT"),
        ("license=3", "3"),
        ("source.scenario.classes=7", "7"),
        ("augmentation.flip=true", True),
        ("optimisation.schedule=cosine", "cosine"),
        ('arch="resnet18"', "resnet18"),
        ("preprocessing.mean=[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3)),
    ],
)
def test_set_takes_a_toml_value_or_a_text(text: str, value: object) -> None:
    found = config(of("train", "gallery"), "--set", text)
    for name in text.partition("=")[0].split("."):
        found = getattr(found, name)
    assert found == value


def test_an_entry_of_a_table_is_set_by_its_name() -> None:
    found = config(of("nas", "cmp"), "--set", "static_lr.mobilenet_v2_0.5=0.1", "--set", "static_lr.shufflenet_v2=1")
    assert found.static_lr == {"mobilenet_v2_0.5": 0.1, "shufflenet_v2": 1.0}


@pytest.mark.parametrize(
    ("words", "more", "says"),
    [
        ("train gallery", ["--lr", -1], "--lr is -1.0; expected above 0"),
        ("train gallery", ["--set", "optimisation.lr=-1"], "--set optimisation.lr is -1.0; expected above 0"),
        ("train gallery", ["--set", "optimisation.lr=fast"], "--set optimisation.lr is 'fast'; expected float"),
        ("train gallery", ["--loss", "hinge"], "--loss is 'hinge'; expected one of cosface, arcface, norm-"),
        ("train gallery", ["--scenario", "classes=x"], "--scenario classes is 'x'; expected ranges of class numbers"),
        ("train gallery", ["--scenario", "share=0.5"], "--scenario share: there is no such setting; nearest: "),
        ("train gallery", ["--size", 0], "--size is 0; expected an integer from 1"),
        ("train gallery", ["--stem-stride", 3], "--stem-stride is 3; expected 1 or 2"),
        ("train gallery", ["--set", "optimisation=3"], "--set optimisation: optimisation is a table; set one of "),
        ("train gallery", ["--set", "learning_rate"], "expected KEY=VALUE"),
        ("nas cmp", ["--set", "static_lr={}"], "--set static_lr: static_lr is a table; set its entries one by one"),
        ("train gallery", ["--lr", 0.1, "--set", "optimisation.lr=0.2"], "--lr and --set optimisation.lr contradict"),
        ("train query", ["--set", "method=bct", "--set", "method=kd"], "--set method and --set method contradict"),
        ("train query", ["--mixed"], "they need the regression term; set regression above 0"),
        ("train query", ["--method", "finetune", "--inherit", "none"], "(given: --method, --inherit)"),
        ("train upgrade", ["--method", "bct"], "--method is 'bct'; expected one of fct, dmu"),
        ("train upgrade", ["--epochs", 0], "--epochs is 0; expected at least 1"),
        ("nas cmp", ["--supernet-lr", 0], "--supernet-lr is 0.0; expected above 0"),
        ("nas cmp", ["--epochs", 0], "--epochs is 0; expected at least 1"),
        ("nas cmp", ["--no-static", "--static", "resnet18"], "--static and --no-static contradict"),
        ("nas cmp", ["--set", "static_lr.resnet18=0.1"], "static_lr names resnet18"),
        ("nas global", ["--no-micro", "--micro-epochs", 1], "--no-micro: micro is false, which leaves nothing for"),
        ("nas global", ["--preset", "huge"], "--preset is 'huge'; expected one of tiny, mobile"),
    ],
)  # fmt: skip
def test_an_error_names_a_setting_as_the_user_wrote_it(words: str, more: list[object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(of(*words.split()), *more)
    assert says in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[optimisation]\nlr = -1\n", "optimisation.lr in {path} is -1.0; expected above 0"),
        ("optimisation = 3\n", "optimisation in {path} is 3; expected a table of settings"),
        ("[optimisation]\nlearning_rate = 1\n", "optimisation.learning_rate in {path}: there is no such setting"),
        ("[optimiser]\nlr = 1\n", "optimiser in {path}: there is no such setting; nearest: optimisation.optimiser"),
        ("nonsense", "--config {path} is not a TOML file"),
    ],
)
def test_an_error_names_the_file(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config(of("train", "gallery"), "--config", path)
    assert says.format(path=path) in str(caught.value)


def test_an_unknown_key_is_answered_with_those_that_may_be_meant() -> None:
    for key, meant in (
        ("lr", "optimisation.lr"),
        ("optimisation.lear", "optimisation."),
        ("optimiser", "optimisation.optimiser"),
    ):
        with pytest.raises(ConfigError, match=rf"nearest: [^`]*{meant}"):
            config(of("train", "gallery"), "--set", f"{key}=1")


def test_what_must_be_given_may_be_given_in_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "train", "query", "--data", "x", "--out", tmp_path / "run")
    assert (code, out) == (2, "") and err.startswith("error: --gallery is missing: RUN folder of the gallery model")
    path = tmp_path / "query.toml"
    path.write_text("gallery = 'elsewhere'\n[source]\ndata = 'y'\n")
    found: list[Told] = []
    command = replace(of("train", "query"), run=lambda what, out, as_json: found.append(what))
    click_command(command).main(["--out", "out", "--config", str(path)], standalone_mode=False)
    assert found[0].values == {"gallery": "elsewhere", "source": {"data": "y"}}


def test_one_option_may_set_several_settings() -> None:
    found = config(of("nas", "cmp"), "--batch", 16, "--seed", 3, "--epochs", 2)
    assert found.supernet.optimisation == Optimisation(epochs=32, lr=1.3, batch=16)
    assert found.retrain == Optimisation(epochs=2, lr=1.3, batch=16)
    assert (found.execution.seed, found.search.seed) == (3, 3)
    assert config(of("nas", "cmp"), "--no-static").static == ()


def test_a_preset_stands_behind_the_options_of_its_settings() -> None:
    found = config(of("nas", "global"), "--preset", "face-small", "--max-width", 24)
    assert (found.bounds.kind, found.bounds.stages, found.bounds.max_width) == ("residual", 4, 24)
    assert config(of("nas", "global"), "--preset", "mobile", "--set", "bounds.max_width=80").bounds.max_width == 80
    with pytest.raises(ConfigError, match=r"bounds\.max_width of --preset is 64; expected at least 70"):
        config(of("nas", "global"), "--preset", "tiny", "--min-width", 70)
    off = config(of("nas", "global"), "--no-micro", "--strikes-add-up")
    assert not off.micro and not off.strikes_reset


def test_settings_lists_the_commands_and_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "settings")
    assert code == 0 and out.split("\n")[:2] == ["train gallery", "train query"]
    code, out, _ = run(capsys, "settings", "train", "query")
    assert code == 0 and "optimisation.lr  number, default 1.3  --lr\n    highest learning rate" in out
    assert "classification.loss  cosface|arcface|norm-softmax|adaface, default the gallery run's" in out
    code, out, _ = run(capsys, "settings", "train", "upgrade", "--json")
    found = {entry["key"]: entry for entry in json.loads(out)}
    assert found["hidden"]["stands"] == "2048 for fct; 1024 for dmu" and found["hidden"]["default"] is None
    code, out, _ = run(capsys, "settings", "nas", "global", "--toml")
    assert code == 0 and tomllib.loads(out)["bounds"]["max_width"] == 64
    code, _, err = run(capsys, "settings", "train", "nothing")
    assert code == 2 and "expected one of train gallery" in err


def test_the_help_of_every_command_shows_its_settings_and_where_the_rest_is(capsys: pytest.CaptureFixture[str]) -> None:
    for words in COMMANDS:
        code, out, _ = run(capsys, *words, "--help")
        assert code == 0 and "--set KEY=VALUE" in out and "--config FILE.toml" in out
        assert "--momentum" not in out and "--cutout" not in out
