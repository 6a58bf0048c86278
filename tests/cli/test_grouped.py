"""Options that commands take together reach them as one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from compat_cli.grouped import grouped


@dataclass(frozen=True, kw_only=True)
class Light:
    """A group with an option that must be given and one that need not."""

    colour: Annotated[str, typer.Option("--colour")]
    steps: Annotated[int, typer.Option("--steps", min=1)] = 3


def _shine(
    name: Annotated[str, typer.Argument()], *, loud: Annotated[bool, typer.Option("--loud")] = False, by: Light
) -> None:
    """Shine."""
    typer.echo(f"{name} {loud} {by}")


def test_a_group_reaches_its_command_as_one_object_and_its_options_keep_their_rules() -> None:
    app = typer.Typer()
    app.command()(grouped(_shine))
    told = CliRunner().invoke(app, ["lamp", "--colour", "red", "--steps", "5"])
    assert told.output.strip() == "lamp False Light(colour='red', steps=5)"
    assert "steps=3" in CliRunner().invoke(app, ["lamp", "--colour", "red", "--loud"]).output
    assert CliRunner().invoke(app, ["lamp"]).exit_code == 2
    assert CliRunner().invoke(app, ["lamp", "--colour", "red", "--steps", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["lamp", "--colour", "red", "--by", "x"]).exit_code == 2
