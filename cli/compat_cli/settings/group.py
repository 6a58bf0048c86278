"""From the fields of a configuration to a command with its options, when the command is asked for and no earlier."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from compat_cli import options
from compat_cli.groups import Group
from compat_cli.settings.command import SettingsCommand
from compat_cli.settings.told import gather

if TYPE_CHECKING:
    from compat_train.config.fields import Setting

_SET = typer.Option(
    "--set",
    metavar="KEY=VALUE",
    help="Any setting by its key, such as optimisation.lr=0.1; repeatable. `compat-sdk settings` lists them.",
    show_default=False,
)
_CONFIG = typer.Option("--config", metavar="FILE.toml", help="Settings as a recipe has them.", show_default=False)


def group_of(commands: Sequence[SettingsCommand]) -> type[Group]:
    """The class of a group of commands, each of which is made when it is first asked for.

    So `compat-sdk --help` reads no configuration. Commands that are added to the group itself come after them.
    """
    by_name = {command.words[-1]: command for command in commands}
    made: dict[str, Any] = {}

    class SettingsGroup(Group):
        """Commands that run configurations."""

        def list_commands(self, ctx: Any) -> list[str]:
            """Names of the commands."""
            return [*by_name, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """A command by name, None where there is none."""
            if cmd_name in by_name and cmd_name not in made:
                made[cmd_name] = click_command(by_name[cmd_name])
            return made.get(cmd_name) or super().get_command(ctx, cmd_name)

    return SettingsGroup


def click_command(command: SettingsCommand) -> Any:
    """A command with its options, as Typer makes them."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(command.words[-1], help=inspect.getdoc(command.run))(_function(command))
    return typer.main.get_command(app)


def _function(command: SettingsCommand) -> Any:
    names = {_parameter(key): key for key in command.flags()}
    names |= {_parameter(each.name): each.name for each in command.shorthands}

    def called(out: Path, sets: list[str] | None, config: Path | None, as_json: bool, **values: Any) -> None:
        told = {names[name]: value for name, value in values.items() if value is not None and value != []}
        for each in command.named:  # one option, of which only the first setting has a parameter
            if each.keys[0] in told:
                told |= dict.fromkeys(each.keys, told[each.keys[0]])
        command.run(gather(command, told, sets or (), config), out, as_json)

    parameters = _parameters(command)
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _parameters(command: SettingsCommand) -> list[inspect.Parameter]:
    flags, settings = command.flags(), {each.key: each for each in command.settings()}
    shown = (*command.inputs, *command.shown)
    followers = {key for each in command.named for key in each.keys[1:]}

    def option(key: str) -> inspect.Parameter:
        setting = settings[key]
        metavar = "|".join(setting.choices) or None
        twins = [each for each in shown if settings[each].text == setting.text]
        text = help_of(setting) if len(twins) < 2 else f"{help_of(setting)} [{key}]"
        told = typer.Option(flags[key], help=text, metavar=metavar, hidden=key not in shown, show_default=False)
        return _optional(_parameter(key), _type(setting), told)

    shorthands = [
        _optional(
            _parameter(each.name),
            list[str] if each.several else str if each.metavar else bool,
            typer.Option(each.name, help=each.text(), metavar=each.metavar or None, show_default=False),
        )
        for each in command.shorthands
    ]
    return [
        *(option(key) for key in command.inputs),
        inspect.Parameter(
            "out", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Path, typer.Option("--out", help=command.out)]
        ),
        *(option(key) for key in command.shown),
        *shorthands,
        *(option(key) for key in flags if key not in shown and key not in followers),
        _optional("sets", list[str], _SET),
        _optional("config", Path, _CONFIG),
        inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=options.Json),
    ]


def _parameter(key: str) -> str:
    return "set_" + key.replace("--", "").replace(".", "__").replace("-", "_")


def _optional(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _type(setting: Setting) -> Any:
    return list[setting.single] if setting.several else setting.single  # type: ignore[name-defined]


def help_of(setting: Setting) -> str:
    """Help of a setting's option: what it is, its unit, and what stands for it where it is not given."""
    text = setting.text[:1].upper() + setting.text[1:]
    repeated = "; repeatable" if setting.several else ""
    unit = f" ({setting.unit})" if setting.unit and setting.unit.lower() not in text.lower() else ""
    default = "required" if setting.required else f"default: {setting.default_text}"
    return f"{text}{unit}{repeated}. [{default}]"
