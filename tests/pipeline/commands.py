"""The command line as a tree, also where a command is made when it is asked for."""

from __future__ import annotations

from typing import Any


def subcommands(group: Any) -> dict[str, Any]:
    """The commands of a group by name; none for a command."""
    if not hasattr(group, "list_commands"):
        return {}
    return {name: group.get_command(None, name) for name in group.list_commands(None)}
