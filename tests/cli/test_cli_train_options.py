"""Options that a command takes as groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from compat_cli.commands.train_options import ExecutionOptions, Group, Int, grouped, number


@dataclass(frozen=True, kw_only=True)
class _Sizes(Group):
    width: Annotated[Int, number("--width", "Channels.")] = None
    depth: Annotated[int, typer.Option("--depth", help="Layers.")]


@dataclass(frozen=True, kw_only=True)
class _Deeper(_Sizes):
    depth: Annotated[int, typer.Option("--layers", help="More of them.")]


def run(command: object, *arguments: str) -> object:
    app = typer.Typer()
    app.command()(grouped(command))  # type: ignore[arg-type]
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_group_on_the_command_line_is_its_options() -> None:
    def command(*, name: str, sizes: _Sizes, execution: ExecutionOptions) -> None:
        typer.echo(f"{name} {sizes.settings()} {execution.settings()}")

    assert run(command, "net", "--depth", "3", "--device", "cpu") == "net {'depth': 3} {'seed': 0, 'device': 'cpu'}\n"
    assert "{'width': 8, 'depth': 3}" in str(run(command, "net", "--depth", "3", "--width", "8"))


def test_a_group_may_say_an_option_in_its_own_words() -> None:
    def command(*, sizes: _Deeper) -> None:
        typer.echo(str(sizes.settings()))

    assert run(command, "--layers", "5") == "{'depth': 5}\n"


def test_two_groups_with_one_option_are_a_mistake_that_shows_at_once() -> None:
    def command(*, sizes: _Sizes, depth: int) -> None:
        typer.echo(f"{sizes} {depth}")

    with pytest.raises(AssertionError, match="two options are called depth"):
        grouped(command)
