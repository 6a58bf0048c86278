"""`compat-sdk settings`: every setting of a command, with its unit and its default."""

from __future__ import annotations

from typing import Annotated

import typer

from compat_cli import console, options
from compat_cli import settings as listed
from compat_cli.commands import nas, train
from compat_sdk.errors import ConfigError

COMMANDS = {command.words: command for command in (*train.COMMANDS, *nas.COMMANDS)}


def settings(
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND...", show_default=False)] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print a file for the command's --config.")] = False,
    as_json: options.Json = False,
) -> None:
    """List every setting of a command, such as `compat-sdk settings train query`; without one, list the commands."""
    names = [" ".join(words) for words in COMMANDS]
    if not command:
        if toml:
            raise ConfigError(f"--toml prints the settings of one command; name one of {', '.join(names)}")
        console.report(names, console.lines(names), as_json=as_json)
        return
    found = COMMANDS.get(tuple(command))
    if found is None:
        raise ConfigError(f"{' '.join(command)!r} has no settings; expected one of {', '.join(names)}")
    if toml and as_json:
        raise ConfigError("--toml and --json contradict each other; leave one out")
    if toml:
        console.print_text(listed.as_toml(found).rstrip())
        return
    console.report(listed.as_json(found), listed.as_text(found), as_json=as_json)
