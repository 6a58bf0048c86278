"""Options that stand for several settings of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compat_cli.settings import Shorthand
from compat_cli.settings.told import parsed
from compat_sdk.errors import ConfigError

_TABLE = "source.scenario."


def scenario_of(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of a scenario, by key, from ``NAME=VALUE`` texts.

    Raises:
        ConfigError: A text is not of that form, or names a setting twice.
    """
    from compat_train.config.fields import settings_of
    from compat_train.config.scenario import Scenario

    settings = {each.key: each for each in settings_of(Scenario)}
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or _TABLE + name in found:
            raise ConfigError(f"--scenario {text!r}: expected NAME=VALUE, each name once, such as fraction=0.3")
        found[_TABLE + name] = parsed(value, settings[name]) if name in settings else value
    return found


def _scenario_text() -> str:
    from compat_train.config.fields import settings_of
    from compat_train.config.scenario import Scenario

    names = ", ".join(each.key for each in settings_of(Scenario))
    return f"Part of the training split to learn from, such as classes=0-499; repeatable: {names}."


SCENARIO = Shorthand(name="--scenario", text=_scenario_text, expand=scenario_of, metavar="NAME=VALUE", several=True)
EVERYWHERE = ("execution.seed", "execution.device", "execution.threads")
"""Settings that every training shows: they mean the same in each."""


def preset_of(command: str) -> Shorthand:
    """The option ``--preset`` of a command: settings for a laptop, or for a GPU."""

    def expand(name: str) -> Mapping[str, Any]:
        from compat_train.config.presets import NAMES, preset

        if name not in NAMES:
            raise ConfigError(f"--preset is {name!r}; expected one of {', '.join(NAMES)}")
        return preset(command, name)

    return Shorthand(name="--preset", text=lambda: _PRESET_TEXT, expand=expand, metavar="laptop|gpu", yields=True)


_PRESET_TEXT = (
    "Settings for a few hundred photos on a laptop's CPU, or for many on a GPU; any option stands over them. "
    "`compat-sdk settings` shows them."
)
