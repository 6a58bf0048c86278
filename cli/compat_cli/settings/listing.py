"""Every setting of a command: as lines, as JSON, and as a file for ``--config``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_cli.settings.command import SettingsCommand
    from compat_train.config.fields import Setting


def as_json(command: SettingsCommand) -> list[dict[str, Any]]:
    """Every setting of a command; ``flag`` where the command's help shows one, ``presets``: by name.

    ``default`` is the value, null where another setting or another run decides; ``stands`` says it in words.
    """
    return [
        {
            "key": each.key,
            "type": each.type_text,
            "choices": list(each.choices),
            "default": each.default,
            "stands": each.default_text,
            "required": each.required,
            "unit": each.unit,
            "help": each.text,
            "flag": _shown_flag(command, each.key),
            "presets": _presets(command, each.key),
        }
        for each in command.settings()
    ]


def as_text(command: SettingsCommand) -> str:
    """Two lines for each setting of a command: key, type, default and option, then what it is."""
    lines = []
    for each in command.settings():
        unit = f" {each.unit}" if each.unit else ""
        default = each.default_text if each.required else f"default {each.default_text}"
        flag = _shown_flag(command, each.key)
        presets = "".join(f"; --preset {name}: {_toml(value)}" for name, value in _presets(command, each.key).items())
        lines.append(f"{each.key}  {each.type_text}{unit}, {default}" + (f"  {flag}" if flag else ""))
        lines.append(f"    {each.text}{presets}")
    return "\n".join(lines)


def as_toml(command: SettingsCommand) -> str:
    """A file for ``--config`` with every setting of a command at its default.

    What must be given, and what another setting or another run decides, stands there as a comment.
    """
    words = " ".join(command.words)
    lines = [f"# Every setting of `compat-sdk {words}`, for its --config."]
    tables: dict[str, list[Setting]] = {"": []}
    for each in command.settings():
        tables.setdefault(each.key.rpartition(".")[0], []).append(each)
    for table, settings in tables.items():
        lines += ["", f"[{table}]"] if table else []
        for each in settings:
            lines += ["", *_entry(each)]
    return "\n".join(lines) + "\n"


def _entry(setting: Setting) -> list[str]:
    name = setting.key.rpartition(".")[2]
    kind = setting.type_text + (f", {setting.unit}" if setting.unit else "")
    about = f"# {setting.text} ({kind})"
    if setting.default is None:
        return [about, f"# {name} =    # {setting.default_text}"]
    return [about, f"{name} = {_toml(setting.default)}"]


def _presets(command: SettingsCommand, key: str) -> dict[str, Any]:
    """The value that each preset gives a setting, of those that name it."""
    from compat_train.config.presets import presets_of

    return {name: values[key] for name, values in presets_of(" ".join(command.words)).items() if key in values}


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(entry)}" for name, entry in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str) else repr(value)


def _shown_flag(command: SettingsCommand, key: str) -> str | None:
    named = {each for other in command.named if other.keys[0] in command.shown for each in other.keys}
    return command.flags().get(key) if key in (*command.inputs, *command.shown) or key in named else None
