"""Groups of commands whose help shows every summary whole."""

from __future__ import annotations

import inspect
from typing import Any

import typer.core


class Group(typer.core.TyperGroup):
    """Lists its commands with the first paragraph of each one's help, wrapped and never cut off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the section of the commands."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, _summary(command.help or "")))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _summary(text: str) -> str:
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())
